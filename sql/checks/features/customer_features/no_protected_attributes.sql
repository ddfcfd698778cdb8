-- Protected attributes (gender, age, marital status) describe at most and never steer, so they are not features that a
-- segment or an offer could be made from.
-- group: business
-- severity: error
-- blocking: yes
-- remedy: Take the named column out of sql/features/customer_features.sql.
select column_name
from duckdb_columns()
where database_name = current_database()
    and schema_name = 'features'
    and table_name = 'customer_features'
    and column_name in ('gender', 'sex', 'birth_year', 'birth_date', 'age', 'age_years', 'marital_status')
order by column_name
