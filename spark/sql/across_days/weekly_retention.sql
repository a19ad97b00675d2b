-- Question: How many of the players first seen on a day come back, week by week?
-- Grain: one row per first day and whole week since; week 1 is the seven days after the first day
-- Columns:
--   first_day: the day on which these players were first seen, UTC
--   week: number of the week, 1 = days 1 to 7 after the first day; weeks that are not over yet have no row
--   users: players first seen on that day (count)
--   returned: how many of them played in that week (count)
--   share: share of them who played in that week, 0 to 1
-- Key: first_day, week
-- Order: first_day, week
-- Days: 56
-- Run: `daybook answer weekly_retention --day D`; by hand, bind :first_day and :last_day over the lake's table
--   `user_activity`
WITH first_days AS (
    SELECT
        user_id,
        MIN(event_date) AS first_day
    FROM user_activity
    WHERE event_date <= :last_day
    GROUP BY user_id
),

cohorts AS (
    SELECT
        first_day,
        COUNT(*) AS users,
        CAST(FLOOR(DATEDIFF(CAST(:last_day AS DATE), first_day) / 7) AS INT) AS whole_weeks
    FROM first_days
    WHERE first_day BETWEEN :first_day AND DATE_SUB(CAST(:last_day AS DATE), 7)
    GROUP BY first_day
),

weeks AS (
    SELECT
        first_day,
        users,
        EXPLODE(SEQUENCE(1, whole_weeks)) AS week
    FROM cohorts
),

seen AS (
    SELECT
        first_days.first_day,
        CAST(CEIL(DATEDIFF(played.event_date, first_days.first_day) / 7) AS INT) AS week,
        COUNT(DISTINCT played.user_id) AS returned
    FROM user_activity AS played
    INNER JOIN first_days ON played.user_id = first_days.user_id
    WHERE
        played.event_date <= :last_day
        AND first_days.first_day >= :first_day
        AND played.event_date > first_days.first_day
    GROUP BY first_days.first_day, CAST(CEIL(DATEDIFF(played.event_date, first_days.first_day) / 7) AS INT)
)

SELECT
    weeks.first_day,
    weeks.week,
    weeks.users,
    COALESCE(seen.returned, 0) AS returned,
    CAST(COALESCE(seen.returned, 0) AS DOUBLE) / weeks.users AS share
FROM weeks
LEFT OUTER JOIN seen ON weeks.first_day = seen.first_day AND weeks.week = seen.week
