-- One row per customer. Education in the contract's words; marital status as recorded, odd answers included.
select
    ID as customer_id,
    case Education
        when 'Basic' then 'primary'
        when 'Graduation' then 'bachelor'
        when '2n Cycle' then 'master'
        when 'Master' then 'master'
        when 'PhD' then 'doctorate'
        else Education
    end as education,
    Marital_Status as marital_status,
    Income as household_income,
    Kidhome as kids,
    Teenhome as teens
from read_csv(getvariable('campaign'), header = true, all_varchar = true)
