-- Whoever is planned in a campaign belongs to its brief's audience, and whoever belongs to the audience of any brief is
-- planned in one.
-- group: references
-- severity: error
-- blocking: yes
-- remedy: materialise campaigns/audience_members and campaigns/briefs, then delivery/plan.
with audiences as (
    select briefs.brief_id, members.customer_id
    from campaigns.briefs as briefs
    inner join campaigns.audience_members as members
        on members.taste_segment_id = briefs.taste_segment_id
        and list_contains(string_split(briefs.stage_segment_ids, ','), members.stage_segment_id)
        and members.expected_products >= briefs.activity_floor
        and (members.is_adult or not ends_with(briefs.brief_id, '-adults'))
)
select plan.customer_id, plan.campaign_id
from delivery.plan as plan
where case
    when plan.campaign_id is null then plan.customer_id in (select customer_id from audiences)
    else not exists (
        select 1 from audiences
        where audiences.customer_id = plan.customer_id and audiences.brief_id = plan.campaign_id
    )
end
