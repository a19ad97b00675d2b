-- Question: Which guilds do people join?
-- Grain: one row per guild of a day
-- Columns:
--   guild: the guild; null where the client named none
--   events: joins (count)
--   users: distinct players who joined
--   share: part of the day's guild joins, 0 to 1
--   rank: 1 = most joins, ties share one
-- Key: guild
-- Order: rank, guild
-- Balance: events WHERE event_type = 'join_guild'
-- Events: events.event_type = 'join_guild' AND events.guild <=> answer.guild
-- Run: `daybook answer guild_joins --day D`; by hand, bind :first_day and :last_day over the lake's table `events`
WITH counted AS (
    SELECT
        event_date,
        guild,
        COUNT(*) AS events,
        COUNT(DISTINCT user_id) AS users
    FROM events
    WHERE
        event_date BETWEEN :first_day AND :last_day
        AND event_type = 'join_guild'
    GROUP BY event_date, guild
)

SELECT
    event_date,
    guild,
    events,
    users,
    CAST(events AS DOUBLE) / SUM(events) OVER (PARTITION BY event_date) AS share,
    RANK() OVER (PARTITION BY event_date ORDER BY events DESC) AS rank
FROM counted
