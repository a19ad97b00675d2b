-- Question: Which internet host providers do our users come from?
-- Grain: one row per provider of a day; hosts without a known provider stand in buckets named in brackets
-- Columns:
--   provider: the provider, or a bucket in brackets
--   events: events (count)
--   users: distinct players
--   share: part of the day's events, 0 to 1
--   coverage: part of the day's events that have a known provider, 0 to 1; the same on every row of a day
-- Key: provider
-- Order: events desc, provider
-- Balance: events
-- Run: `daybook answer provider_usage --day D`; by hand, bind :first_day and :last_day over the lake's table `events`
WITH counted AS (
    SELECT
        event_date,
        provider,
        COUNT(*) AS events,
        COUNT(DISTINCT user_id) AS users
    FROM events
    WHERE event_date BETWEEN :first_day AND :last_day
    GROUP BY event_date, provider
)

SELECT
    event_date,
    provider,
    events,
    users,
    CAST(events AS DOUBLE) / SUM(events) OVER (PARTITION BY event_date) AS share,
    CAST(SUM(IF(provider LIKE '(%', 0, events)) OVER (PARTITION BY event_date) AS DOUBLE)
    / SUM(events) OVER (PARTITION BY event_date) AS coverage
FROM counted
