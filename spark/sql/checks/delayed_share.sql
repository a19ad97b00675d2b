-- Check: Few events of a day reach the intake long after they happened, except generated ones
-- Severity: warn
-- Run: part of publish_day; by hand, bind :first_day, :last_day, :max_delay_hours, :max_delayed_share and
--   :min_events_for_shares over the lake's table `events`
WITH counted AS (
    SELECT
        event_date,
        COUNT(*) AS events,
        COUNT_IF(
            TIMESTAMPDIFF(SECOND, occurred_at, received_at) > :max_delay_hours * 3600
            -- a generated day is sent at any time after its end
            AND COALESCE(user_agent, '') != 'daybook-generator'
        ) AS delayed_events
    FROM events
    WHERE event_date BETWEEN :first_day AND :last_day
    GROUP BY event_date
)

SELECT
    event_date,
    events,
    delayed_events
FROM counted
WHERE
    events >= :min_events_for_shares
    AND delayed_events > events * :max_delayed_share
