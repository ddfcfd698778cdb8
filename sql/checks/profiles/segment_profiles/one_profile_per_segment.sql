-- Every segment of the summary has exactly one profile, and no profile stands for a segment that is not there.
-- group: references
-- severity: error
-- blocking: yes
-- remedy: materialise segments/segment_summary and profiles/segment_profiles together; a segment was added or lost between them.
with profiles as (
    select axis, segment_id, count(*) as profiles
    from profiles.segment_profiles
    group by axis, segment_id
)
select
    coalesce(segments.axis, profiles.axis) as axis,
    coalesce(segments.segment_id, profiles.segment_id) as segment_id,
    coalesce(profiles.profiles, 0) as profiles
from segments.segment_summary as segments
full join profiles on profiles.axis = segments.axis and profiles.segment_id = segments.segment_id
where segments.segment_id is null or profiles.profiles is null or profiles.profiles <> 1
