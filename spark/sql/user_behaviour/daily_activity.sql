-- Question: How much do people play in a day?
-- Grain: one row per day that has an event
-- Columns:
--   events: events (count)
--   users: distinct players
--   events_per_user: mean events of a player
--   purchases: events that are purchases (count)
--   guild_joins: events that are guild joins (count)
--   busiest_hour: hour with the most events, 0 to 23, UTC; the earliest of ties
-- Key: none
-- Order: events
-- Balance: events
-- Run: `daybook answer daily_activity --day D`; by hand, bind :first_day and :last_day over the lake's table `events`
WITH day AS (
    SELECT
        event_date,
        COUNT(*) AS events,
        COUNT(DISTINCT user_id) AS users,
        COUNT_IF(event_type = 'purchase_item') AS purchases,
        COUNT_IF(event_type = 'join_guild') AS guild_joins
    FROM events
    WHERE event_date BETWEEN :first_day AND :last_day
    GROUP BY event_date
),

hours AS (
    SELECT
        event_date,
        HOUR(occurred_at) AS hour,
        COUNT(*) AS events
    FROM events
    WHERE event_date BETWEEN :first_day AND :last_day
    GROUP BY event_date, HOUR(occurred_at)
),

busiest AS (
    SELECT
        event_date,
        MAX_BY(hour, STRUCT(events, -hour)) AS busiest_hour
    FROM hours
    GROUP BY event_date
)

SELECT
    day.event_date,
    day.events,
    day.users,
    CAST(day.events AS DOUBLE) / day.users AS events_per_user,
    day.purchases,
    day.guild_joins,
    busiest.busiest_hour
FROM day
INNER JOIN busiest ON day.event_date = busiest.event_date
