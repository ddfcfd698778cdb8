-- Every figure in a draft is one of its brief's facts: no number was invented, mistyped or taken from another brief.
-- group: business
-- severity: error
-- blocking: yes
-- remedy: write the figure as {{key}} of a fact in campaigns.draft_facts, and materialise campaigns/email_drafts again.
with texts as (
    select
        draft_id,
        brief_id,
        regexp_replace(
            concat_ws(chr(10), subject, preheader, call_to_action, body_text), '\[\[[^\]]*\]\]', ' ', 'g') as content
    from campaigns.email_drafts
),
said as (
    select
        draft_id,
        brief_id,
        unnest(list_distinct(regexp_extract_all(content, '[€$£¥₹₩]?\d(?:[\d.,]*\d)?%?'))) as figure
    from texts
),
known as (
    select distinct
        brief_id, unnest(regexp_extract_all(renderings, '[€$£¥₹₩]?\d(?:[\d.,]*\d)?%?')) as figure
    from campaigns.draft_facts
)
select said.draft_id, said.figure
from said
anti join known on known.brief_id = said.brief_id and known.figure = said.figure
