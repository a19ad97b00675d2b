-- Question: Which events are popular on each provider?
-- Grain: one row per provider, event type and item of a day
-- Columns:
--   provider: the provider, or a bucket in brackets
--   event_type: what was done
--   item: what was bought; null for guild joins
--   events: events (count)
--   users: distinct players
--   rank: within the provider, 1 = most events, ties share one
-- Key: provider, event_type, item
-- Order: provider, rank, event_type, item
-- Balance: events
-- Run: `daybook answer provider_event_popularity --day D`; by hand, bind :first_day and :last_day over the
--   lake's table `events`
WITH counted AS (
    SELECT
        event_date,
        provider,
        event_type,
        item,
        COUNT(*) AS events,
        COUNT(DISTINCT user_id) AS users
    FROM events
    WHERE event_date BETWEEN :first_day AND :last_day
    GROUP BY event_date, provider, event_type, item
)

SELECT
    event_date,
    provider,
    event_type,
    item,
    events,
    users,
    RANK() OVER (PARTITION BY event_date, provider ORDER BY events DESC) AS rank
FROM counted
