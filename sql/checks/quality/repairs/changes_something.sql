-- A repair changes its cell and names its rule.
-- group: contract
-- severity: error
-- blocking: yes
-- remedy: Look at the reading of that column in cleaning_rules.py.
select
    table_name,
    row_key,
    column_name
from quality.repairs
where before is not distinct from after or rule is null or row_key is null or column_name is null
