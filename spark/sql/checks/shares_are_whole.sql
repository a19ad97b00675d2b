-- Check: The shares of a day add up to one
-- Severity: fail
-- Run: part of publish_day; by hand, bind :first_day and :last_day over the lake's answers
WITH sums AS (
    SELECT
        event_date,
        'event_popularity' AS answer,
        SUM(share) AS total
    FROM event_popularity
    WHERE event_date BETWEEN :first_day AND :last_day
    GROUP BY event_date
    UNION ALL
    SELECT
        event_date,
        'guild_joins' AS answer,
        SUM(share) AS total
    FROM guild_joins
    WHERE event_date BETWEEN :first_day AND :last_day
    GROUP BY event_date
    UNION ALL
    SELECT
        event_date,
        'purchases' AS answer,
        SUM(share) AS total
    FROM purchases
    WHERE event_date BETWEEN :first_day AND :last_day
    GROUP BY event_date
    UNION ALL
    SELECT
        event_date,
        'provider_usage' AS answer,
        SUM(share) AS total
    FROM provider_usage
    WHERE event_date BETWEEN :first_day AND :last_day
    GROUP BY event_date
)

SELECT
    event_date,
    answer,
    total
FROM sums
WHERE total IS NULL OR ABS(total - 1) > 1e-6
