-- Check: Most events of a day have a known provider
-- Severity: warn
-- Run: part of publish_day; by hand, bind :first_day, :last_day and :min_provider_coverage over the lake's table
--   `provider_usage`
SELECT
    event_date,
    MIN(coverage) AS coverage
FROM provider_usage
WHERE event_date BETWEEN :first_day AND :last_day
GROUP BY event_date
HAVING MIN(coverage) < :min_provider_coverage
