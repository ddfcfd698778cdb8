-- No text of a profile is empty or still holds a placeholder.
-- group: contract
-- severity: error
-- blocking: yes
-- remedy: look at the column named; a fact it needs is missing, and its sentence was not left out.
with texts as (
    unpivot (
        select
            axis, segment_id, name, who, what, how, objective, message, channel, resonance, do_not,
            confidence_sentence, change_since_last, top_categories, best_offer
        from profiles.segment_profiles
    ) include nulls
    on name, who, what, how, objective, message, channel, resonance, do_not, confidence_sentence, change_since_last,
       top_categories, best_offer
    into name column_name value content
)
select axis, segment_id, column_name, content
from texts
where content is null or trim(content) = '' or regexp_matches(content, '\{\{|\}\}|\{%|\$\{')
