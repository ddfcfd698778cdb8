-- Each capability is there once, on or off, with its reason.
-- group: contract
-- severity: error
-- blocking: yes
-- remedy: Look at the capability's branch in sql/quality/capabilities.sql.
select
    capability,
    count(*) as found_rows
from quality.capabilities
group by capability
having count(*) > 1 or count(is_on) < count(*) or count(nullif(reason, '')) < count(*)
