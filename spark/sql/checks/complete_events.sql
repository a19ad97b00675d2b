-- Check: Every event has the fields that the contract requires, and every purchase has an item
-- Severity: fail
-- Run: part of publish_day; by hand, bind :first_day and :last_day over the lake's table `events`
SELECT
    event_date,
    event_id,
    event_type,
    item,
    user_id,
    occurred_at,
    provider,
    kafka_partition,
    kafka_offset
FROM events
WHERE
    event_date BETWEEN :first_day AND :last_day
    AND (
        event_id IS NULL
        OR event_type IS NULL
        OR user_id IS NULL
        OR occurred_at IS NULL
        OR provider IS NULL
        OR (event_type = 'purchase_item' AND item IS NULL)
        OR (event_type = 'join_guild' AND item IS NOT NULL)
    )
