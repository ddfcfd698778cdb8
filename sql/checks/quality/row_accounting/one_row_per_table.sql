-- Every table of the contract is accounted for once.
-- group: contract
-- severity: error
-- blocking: yes
-- remedy: Run the cleaning again.
select table_name
from quality.row_accounting
group by table_name
having count(*) > 1
union all
select 'fewer than 19 tables' as table_name
from (select count(*) as tables from quality.row_accounting) as counted
where tables < 19
