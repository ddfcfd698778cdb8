-- A verdict better than constructive is given only to a number of segments that keeps every floor of size and stability.
-- group: business
-- severity: error
-- blocking: yes
-- remedy: Search for the number of segments again: materialise segments/stage_evidence and what follows.
select c.k, c.verdict, e.stability, e.smallest_share, e.fails
from segments.stage_choice as c
left join segments.stage_evidence as e on e.k = c.k
where c.verdict in ('natural', 'reproducible')
    and not coalesce(e.is_admissible, false)
order by c.k
