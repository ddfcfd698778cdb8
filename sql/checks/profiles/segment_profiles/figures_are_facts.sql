-- Every figure of a profile is a rendering of one of its segment's facts; a figure that is none was invented.
-- group: business
-- severity: error
-- blocking: yes
-- remedy: materialise profiles/segment_profiles again; when it comes back, an edited text names a figure that is no fact.
with figures as (
    select axis, segment_id, unnest(regexp_extract_all(concat_ws(' ', who, what, how, objective, message, channel, resonance, do_not, confidence_sentence, change_since_last, best_offer), '[0-9][0-9.,]*[0-9]|[0-9]')) as figure
    from profiles.segment_profiles
),

known as (
    select axis, segment_id, unnest(regexp_extract_all(renderings, '[0-9][0-9.,]*[0-9]|[0-9]')) as figure
    from profiles.profile_facts
)

select figures.axis, figures.segment_id, figures.figure
from figures
anti join known
    on known.axis = figures.axis and known.segment_id = figures.segment_id and known.figure = figures.figure
