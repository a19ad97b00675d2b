-- Check: Every event is on the UTC day on which it happened
-- Severity: fail
-- Run: part of publish_day; by hand, bind :first_day and :last_day over the lake's table `events`
SELECT
    event_date,
    event_id,
    occurred_at
FROM events
WHERE
    event_date BETWEEN :first_day AND :last_day
    AND TO_DATE(occurred_at) != event_date
