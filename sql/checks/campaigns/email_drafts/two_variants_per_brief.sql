-- Every brief has exactly the variants A and B, with different subjects, and every draft is a draft.
-- group: contract
-- severity: error
-- blocking: yes
-- remedy: materialise campaigns/email_drafts again after campaigns/briefs.
with counted as (
    select
        brief_id,
        count(*) as drafts,
        count(distinct variant) as variants,
        count(distinct subject) as subjects,
        count(*) filter (variant not in ('A', 'B') or status <> 'draft' or subject is null or body_text is null) as odd
    from campaigns.email_drafts
    group by brief_id
)
select coalesce(briefs.brief_id, counted.brief_id) as brief_id, counted.drafts, counted.variants, counted.subjects
from campaigns.briefs as briefs
full join counted on counted.brief_id = briefs.brief_id
where briefs.brief_id is null
   or counted.brief_id is null
   or counted.drafts <> 2 or counted.variants <> 2 or counted.subjects <> 2 or counted.odd > 0
