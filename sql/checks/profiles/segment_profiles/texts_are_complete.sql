-- No text of a profile is empty or still holds a placeholder.
-- group: contract
-- severity: error
-- blocking: yes
-- remedy: look at the column named; a fact it needs is missing, and its sentence was not left out.
with texts as (
    select
        axis,
        segment_id,
        unnest([
            'name', 'who', 'what', 'how', 'objective', 'message', 'channel', 'resonance', 'do_not',
            'confidence_sentence', 'change_since_last', 'top_categories', 'best_offer'
        ]) as column_name,
        unnest([
            name, who, what, how, objective, message, channel, resonance, do_not,
            confidence_sentence, change_since_last, top_categories, best_offer
        ]) as content
    from profiles.segment_profiles
)
select axis, segment_id, column_name, content
from texts
where content is null or trim(content) = '' or regexp_matches(content, '\{\{|\}\}|\{%|\$\{')
