-- A profile's counts and share of revenue are those of the segment summary.
-- group: business
-- severity: error
-- blocking: yes
-- remedy: materialise profiles/segment_profiles again; it was written from another summary.
select profiles.axis, profiles.segment_id, profiles.customers, summary.customers as summary_customers
from profiles.segment_profiles as profiles
inner join segments.segment_summary as summary
    on summary.axis = profiles.axis and summary.segment_id = profiles.segment_id
where profiles.customers <> summary.customers
   or profiles.reachable_customers <> summary.reachable_customers
   or profiles.reachable_customers > profiles.customers
   or abs(coalesce(profiles.revenue_share, 0) - coalesce(summary.revenue_share, 0)) > 1e-9
