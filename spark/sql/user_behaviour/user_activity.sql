-- Question: Who played, and how much?
-- Grain: one row per player of a day
-- Columns:
--   user_id: the player
--   events: events (count)
--   purchases: events that are purchases (count)
--   guild_joins: events that are guild joins (count)
-- Key: user_id
-- Order: events desc, user_id
-- Balance: events
-- Run: `daybook answer user_activity --day D`; by hand, bind :first_day and :last_day over the lake's table `events`
SELECT
    event_date,
    user_id,
    COUNT(*) AS events,
    COUNT_IF(event_type = 'purchase_item') AS purchases,
    COUNT_IF(event_type = 'join_guild') AS guild_joins
FROM events
WHERE event_date BETWEEN :first_day AND :last_day
GROUP BY event_date, user_id
