-- Question: At which hours do people play?
-- Grain: one row per hour of a day that has an event
-- Columns:
--   hour: hour of the day, 0 to 23, UTC
--   events: events (count)
--   users: distinct players
-- Key: hour
-- Order: hour
-- Balance: events
-- Events: HOUR(events.occurred_at) = answer.hour
-- Run: `daybook answer hourly_activity --day D`; by hand, bind :first_day and :last_day over the lake's table
--   `events`
SELECT
    event_date,
    HOUR(occurred_at) AS hour,
    COUNT(*) AS events,
    COUNT(DISTINCT user_id) AS users
FROM events
WHERE event_date BETWEEN :first_day AND :last_day
GROUP BY event_date, HOUR(occurred_at)
