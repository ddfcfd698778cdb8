-- A robot is named by the rule that says so, and only opens and clicks are judged: who refuses is heard, whoever asks.
-- group: business
-- severity: error
-- blocking: yes
-- remedy: Look at the CTE robots of sql/delivery/labelled_events.sql.
select event_id, kind, is_robot, robot_rule
from delivery.labelled_events
where is_robot <> (robot_rule is not null)
    or is_robot is null
    or (is_robot and kind not in ('open', 'click'))
order by event_id
