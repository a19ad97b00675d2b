-- Question: How many players are new, and how many come back?
-- Grain: one row per day that has an event
-- Columns:
--   event_date: the day, UTC
--   users: distinct players
--   new_users: players who were never seen before (count)
--   returning_users: players who were seen before (count)
--   new_share: share of the day's players who are new, 0 to 1
-- Key: event_date
-- Order: event_date
-- Days: 28
-- Run: `daybook answer new_users --day D`; by hand, bind :first_day and :last_day over the lake's table `user_activity`
WITH first_days AS (
    SELECT
        user_id,
        MIN(event_date) AS first_day
    FROM user_activity
    WHERE event_date <= :last_day
    GROUP BY user_id
)

SELECT
    played.event_date,
    COUNT(*) AS users,
    COUNT_IF(played.event_date = first_days.first_day) AS new_users,
    COUNT_IF(played.event_date > first_days.first_day) AS returning_users,
    CAST(COUNT_IF(played.event_date = first_days.first_day) AS DOUBLE) / COUNT(*) AS new_share
FROM user_activity AS played
INNER JOIN first_days ON played.user_id = first_days.user_id
WHERE played.event_date BETWEEN :first_day AND :last_day
GROUP BY played.event_date
