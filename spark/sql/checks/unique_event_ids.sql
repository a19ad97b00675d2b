-- Check: No event occurs twice on a day
-- Severity: fail
-- Run: part of publish_day; by hand, bind :first_day and :last_day over the lake's table `events`
SELECT
    event_date,
    event_id,
    COUNT(*) AS events
FROM events
WHERE event_date BETWEEN :first_day AND :last_day
GROUP BY event_date, event_id
HAVING COUNT(*) > 1
