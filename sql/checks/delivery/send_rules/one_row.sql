-- The rules of sending are one row, and all of them are set.
-- group: contract
-- severity: error
-- blocking: yes
-- remedy: materialise delivery/send_rules again; the settings are checked when they are read.
select count(*) as rules, count(*) filter (
    cap_messages >= 1 and cap_days >= 1 and rest_after_messages >= 1 and rest_days >= 1
    and quiet_from_hour between 0 and 23 and quiet_to_hour between 0 and 23 and timezone <> ''
    and control_share >= 0 and hold_out_share >= 0
) as whole_rules
from delivery.send_rules
having count(*) <> 1 or whole_rules <> 1
