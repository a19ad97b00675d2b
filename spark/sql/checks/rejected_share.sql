-- Check: Few records of a day are rejected
-- Severity: warn
-- Run: part of publish_day; by hand, bind :first_day, :last_day and :max_rejected_share over the lake's tables
WITH counted AS (
    SELECT
        event_date,
        COUNT(*) AS records,
        COUNT(reason) AS rejected
    FROM (
        SELECT
            event_date,
            CAST(NULL AS STRING) AS reason
        FROM events
        UNION ALL
        SELECT
            event_date,
            reason
        FROM rejected_events
    ) AS judged
    WHERE event_date BETWEEN :first_day AND :last_day
    GROUP BY event_date
)

SELECT
    event_date,
    records,
    rejected,
    rejected / records AS share
FROM counted
WHERE rejected > records * :max_rejected_share
