-- Check: No single user has a large share of a day's events
-- Severity: warn
-- Run: part of publish_day; by hand, bind :first_day, :last_day, :max_share_of_one_user and :min_events_for_shares over
--   the lake's table `events`
WITH counted AS (
    SELECT
        event_date,
        user_id,
        COUNT(*) AS events,
        SUM(COUNT(*)) OVER (PARTITION BY event_date) AS events_of_day
    FROM events
    WHERE event_date BETWEEN :first_day AND :last_day
    GROUP BY event_date, user_id
)

SELECT
    event_date,
    user_id,
    events,
    events_of_day
FROM counted
WHERE
    events_of_day >= :min_events_for_shares
    AND events > events_of_day * :max_share_of_one_user
