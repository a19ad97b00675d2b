-- Question: Which events are most popular?
-- Grain: one row per event type and item of a day
-- Columns:
--   event_type: what was done
--   item: what was bought; null for guild joins
--   events: events (count)
--   users: distinct players
--   share: part of the day's events, 0 to 1
--   rank: 1 = most events, ties share one
-- Key: event_type, item
-- Order: rank, event_type, item
-- Balance: events
-- Run: `daybook answer event_popularity --day D`; by hand, bind :first_day and :last_day over the lake's table
--   `events`
WITH counted AS (
    SELECT
        event_date,
        event_type,
        item,
        COUNT(*) AS events,
        COUNT(DISTINCT user_id) AS users
    FROM events
    WHERE event_date BETWEEN :first_day AND :last_day
    GROUP BY event_date, event_type, item
)

SELECT
    event_date,
    event_type,
    item,
    events,
    users,
    CAST(events AS DOUBLE) / SUM(events) OVER (PARTITION BY event_date) AS share,
    RANK() OVER (PARTITION BY event_date ORDER BY events DESC) AS rank
FROM counted
