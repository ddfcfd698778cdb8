-- No placeholder is left in a draft, and every merge field is one the sender knows, the first name with a fallback.
-- group: business
-- severity: error
-- blocking: yes
-- remedy: fill the placeholder from a fact, or use a known merge field (first_name, shop_name, campaign_url, unsubscribe_url, postal_address).
with texts as (
    select draft_id, concat_ws(chr(10), subject, preheader, call_to_action, body_text, body_html) as content
    from campaigns.email_drafts
),
fields as (
    select draft_id, content, unnest(regexp_extract_all(content, '\[\[\s*([^\]|]*)', 1)) as field
    from texts
)
select draft_id, 'placeholder' as problem, regexp_extract(content, '\{\{[^}]*\}?|\{%|\$\{[^}]*') as found
from texts
where regexp_matches(content, '\{\{|\}\}|\{%|\$\{')
union all
select distinct draft_id, 'unknown merge field', field
from fields
where trim(field) not in (
    'first_name', 'greeting', 'shop_name', 'campaign_url', 'product_url_1', 'product_url_2', 'product_url_3',
    'product_url_4', 'product_url_5', 'product_url_6', 'next_products', 'pixel_url', 'unsubscribe_url', 'postal_address'
)
union all
select draft_id, 'first name without fallback', '[[first_name]]'
from texts
where regexp_matches(content, '\[\[\s*first_name\s*(\|\s*)?\]\]')
