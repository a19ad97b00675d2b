-- Question: Which items do the same players buy on one day?
-- Grain: one row per pair of items that a player bought on the day; a pair stands once, the items in alphabetical order
-- Columns:
--   item: one item
--   other_item: the other one
--   users: distinct players who bought both
--   buyers_share: part of the day's buyers who bought both, 0 to 1
--   lift: how many times as many bought both as would if the two were independent; 1 = independent
-- Key: item, other_item
-- Order: users desc, item, other_item
-- Balance: none
-- Events: events.event_type = 'purchase_item' AND events.item IN (answer.item, answer.other_item)
--   AND events.user_id IN (SELECT one.user_id FROM events AS one WHERE one.item = answer.item)
--   AND events.user_id IN (SELECT one.user_id FROM events AS one WHERE one.item = answer.other_item)
-- Run: `daybook answer item_affinity --day D`; by hand, bind :first_day and :last_day over the lake's table `events`
WITH bought AS (
    SELECT DISTINCT
        event_date,
        user_id,
        item
    FROM events
    WHERE
        event_date BETWEEN :first_day AND :last_day
        AND event_type = 'purchase_item'
),

-- what each buyer bought, counted by what it is: mostly few rows, never more than buyers, and all else goes by them
baskets AS (
    SELECT
        event_date,
        items,
        COUNT(*) AS users,
        SUM(COUNT(*)) OVER (PARTITION BY event_date) AS buyers
    FROM (
        SELECT
            event_date,
            user_id,
            ARRAY_SORT(COLLECT_LIST(item)) AS items
        FROM bought
        GROUP BY event_date, user_id
    ) AS players
    GROUP BY event_date, items
),

bought_items AS (
    SELECT
        event_date,
        items,
        users,
        buyers,
        EXPLODE(items) AS item
    FROM baskets
),

bought_pairs AS (
    SELECT
        event_date,
        users,
        buyers,
        item,
        EXPLODE(items) AS other_item
    FROM bought_items
),

singles AS (
    SELECT
        event_date,
        item,
        SUM(users) AS users
    FROM bought_items
    GROUP BY event_date, item
),

pairs AS (
    SELECT
        event_date,
        buyers,
        item,
        other_item,
        SUM(users) AS users
    FROM bought_pairs
    WHERE item < other_item
    GROUP BY event_date, buyers, item, other_item
)

SELECT
    pairs.event_date,
    pairs.item,
    pairs.other_item,
    pairs.users,
    CAST(pairs.users AS DOUBLE) / pairs.buyers AS buyers_share,
    CAST(pairs.users AS DOUBLE) * pairs.buyers / (CAST(one.users AS DOUBLE) * other.users) AS lift
FROM pairs
INNER JOIN singles AS one ON pairs.event_date = one.event_date AND pairs.item = one.item
INNER JOIN singles AS other ON pairs.event_date = other.event_date AND pairs.other_item = other.item
