-- Every rejected row has its key, rule, sentence and values.
-- group: contract
-- severity: error
-- blocking: yes
-- remedy: Give the rule a detail sentence that is never null.
select
    table_name,
    row_key,
    rule
from quality.rejected_rows
where table_name is null or row_key is null or rule is null or detail is null or row_json is null
