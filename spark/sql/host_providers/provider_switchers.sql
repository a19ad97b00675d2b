-- Question: Which players are seen on more than one provider in a day?
-- Grain: one row per combination of two or more known providers that a player of the day was seen on; a player stands
--   in one row
-- Columns:
--   providers: the combination, in alphabetical order
--   provider_count: how many providers it has
--   users: distinct players seen on just these
--   users_share: part of the day's players seen on a known provider, 0 to 1
--   events: events of these players on these providers (count)
-- Key: providers
-- Order: users desc, providers
-- Balance: none
-- Events: events.provider NOT LIKE '(%' AND answer.providers = (
--   SELECT ARRAY_JOIN(ARRAY_SORT(COLLECT_SET(one.provider)), ' + ') FROM events AS one
--   WHERE one.user_id = events.user_id AND one.provider NOT LIKE '(%')
-- Run: `daybook answer provider_switchers --day D`; by hand, bind :first_day and :last_day over the lake's table
--   `events`
-- a row for each player and provider, not for each event, is what the lists are made of: those are Spark's slow part
WITH seen AS (
    SELECT
        event_date,
        user_id,
        provider,
        COUNT(*) AS events
    FROM events
    WHERE
        event_date BETWEEN :first_day AND :last_day
        AND provider NOT LIKE '(%'
    GROUP BY event_date, user_id, provider
),

players AS (
    SELECT
        event_date,
        user_id,
        ARRAY_JOIN(ARRAY_SORT(COLLECT_LIST(provider)), ' + ') AS providers,
        COUNT(*) AS provider_count,
        SUM(events) AS events
    FROM seen
    GROUP BY event_date, user_id
),

combinations AS (
    SELECT
        event_date,
        providers,
        provider_count,
        COUNT(*) AS users,
        SUM(COUNT(*)) OVER (PARTITION BY event_date) AS users_of_day,
        SUM(events) AS events
    FROM players
    GROUP BY event_date, providers, provider_count
)

SELECT
    event_date,
    providers,
    provider_count,
    users,
    CAST(users AS DOUBLE) / users_of_day AS users_share,
    events
FROM combinations
WHERE provider_count > 1
