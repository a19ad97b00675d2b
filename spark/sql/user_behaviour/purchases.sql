-- Question: What do people buy, and how many of the buyers buy it?
-- Grain: one row per item of a day
-- Columns:
--   item: what was bought
--   events: purchases (count)
--   users: distinct players who bought it
--   share: part of the day's purchases, 0 to 1
--   buyers_share: part of the day's buyers who bought it, 0 to 1
--   events_per_user: mean purchases of a player who bought it
--   rank: 1 = most purchases, ties share one
-- Key: item
-- Order: rank, item
-- Balance: events WHERE event_type = 'purchase_item'
-- Events: events.event_type = 'purchase_item' AND events.item <=> answer.item
-- Run: `daybook answer purchases --day D`; by hand, bind :first_day and :last_day over the lake's table `events`
WITH bought AS (
    SELECT
        event_date,
        item,
        user_id
    FROM events
    WHERE
        event_date BETWEEN :first_day AND :last_day
        AND event_type = 'purchase_item'
),

counted AS (
    SELECT
        event_date,
        item,
        COUNT(*) AS events,
        COUNT(DISTINCT user_id) AS users
    FROM bought
    GROUP BY event_date, item
),

buyers AS (
    SELECT
        event_date,
        COUNT(DISTINCT user_id) AS buyers
    FROM bought
    GROUP BY event_date
)

SELECT
    counted.event_date,
    counted.item,
    counted.events,
    counted.users,
    CAST(counted.events AS DOUBLE) / SUM(counted.events) OVER (PARTITION BY counted.event_date) AS share,
    CAST(counted.users AS DOUBLE) / buyers.buyers AS buyers_share,
    CAST(counted.events AS DOUBLE) / counted.users AS events_per_user,
    RANK() OVER (PARTITION BY counted.event_date ORDER BY counted.events DESC) AS rank
FROM counted
INNER JOIN buyers ON counted.event_date = buyers.event_date
