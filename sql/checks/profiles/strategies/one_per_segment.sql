-- Every segment has exactly one strategy.
-- group: contract
-- severity: error
-- blocking: yes
-- remedy: materialise profiles/segment_profiles and profiles/strategies together.
select coalesce(summary.axis, strategies.axis) as axis, coalesce(summary.segment_id, strategies.segment_id) as segment_id, count(strategies.goal) as strategies
from segments.segment_summary as summary
full join profiles.strategies as strategies
    on strategies.axis = summary.axis and strategies.segment_id = summary.segment_id
group by all
having count(strategies.goal) <> 1 or count(summary.customers) <> 1
