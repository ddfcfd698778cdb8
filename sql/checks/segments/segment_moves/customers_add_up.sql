-- Every customer of today is where the moves end, once for each comparison that ends today.
-- group: business
-- severity: error
-- blocking: yes
-- remedy: Materialise segments/out_of_time again after the assignments of the named axis.
with today as (
    select 'stage' as axis, count(*) as customers from segments.stage_assignments
    union all
    select 'taste' as axis, count(*) as customers from segments.taste_assignments
),

moved as (
    select axis, from_version, to_version, from_as_of, sum(customers) as customers
    from segments.segment_moves
    where to_segment_id <> '(gone)'
    group by axis, from_version, to_version, from_as_of
)

select m.axis, m.from_version, m.to_version, m.from_as_of, m.customers, t.customers as customers_today
from moved as m
inner join today as t on t.axis = m.axis
where m.customers <> t.customers
order by m.axis, m.from_version, m.from_as_of
