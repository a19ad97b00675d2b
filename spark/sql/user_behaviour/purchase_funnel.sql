-- Question: How many players join a guild, and how many of these buy something afterwards?
-- Grain: one row per step of a day that has an event: played, joined a guild, bought after joining
-- Columns:
--   step: 1 to 3
--   name: what a player has done to be counted
--   users: distinct players who came that far on the day
--   players_share: part of the day's players, 0 to 1
--   step_share: part of the players of the step before, 0 to 1; null if that had none
-- Key: step, name
-- Order: step
-- Balance: none
-- Events: CASE answer.step
--   WHEN 1 THEN TRUE
--   WHEN 2 THEN events.event_type = 'join_guild'
--   ELSE events.event_type = 'purchase_item' AND events.occurred_at > (SELECT MIN(one.occurred_at) FROM events AS one
--   WHERE one.user_id = events.user_id AND one.event_type = 'join_guild') END
-- Run: `daybook answer purchase_funnel --day D`; by hand, bind :first_day and :last_day over the lake's table `events`
WITH players AS (
    SELECT
        event_date,
        user_id,
        MIN(IF(event_type = 'join_guild', occurred_at, NULL)) AS first_joined_at,
        MAX(IF(event_type = 'purchase_item', occurred_at, NULL)) AS last_bought_at
    FROM events
    WHERE event_date BETWEEN :first_day AND :last_day
    GROUP BY event_date, user_id
),

counted AS (
    SELECT
        event_date,
        COUNT(*) AS played,
        COUNT(first_joined_at) AS joined,
        COUNT_IF(last_bought_at > first_joined_at) AS bought
    FROM players
    GROUP BY event_date
),

steps AS (
    SELECT
        event_date,
        1 AS step,
        'played' AS name,
        played AS users,
        played,
        played AS users_before
    FROM counted
    UNION ALL
    SELECT
        event_date,
        2 AS step,
        'joined a guild' AS name,
        joined AS users,
        played,
        played AS users_before
    FROM counted
    UNION ALL
    SELECT
        event_date,
        3 AS step,
        'bought after joining' AS name,
        bought AS users,
        played,
        joined AS users_before
    FROM counted
)

SELECT
    event_date,
    step,
    name,
    users,
    CAST(users AS DOUBLE) / played AS players_share,
    CAST(users AS DOUBLE) / NULLIF(users_before, 0) AS step_share
FROM steps
