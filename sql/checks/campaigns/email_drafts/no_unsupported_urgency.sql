-- No draft presses people without a reason ("Hurry! Flash sale!"), promises what nobody can keep, or shouts. A phrase of
-- urgency is fine where the same field states the offer's real end date.
-- group: business
-- severity: error
-- blocking: yes
-- remedy: say until when the offer is valid instead of pressing.
with fields as (
    select draft_id, 'subject' as field, subject as content, valid_until from campaigns.email_drafts
    union all
    select draft_id, 'preheader', preheader, valid_until from campaigns.email_drafts
    union all
    select draft_id, 'call_to_action', call_to_action, valid_until from campaigns.email_drafts
    union all
    select draft_id, 'body_text', body_text, valid_until from campaigns.email_drafts
    union all
    select draft_id, 'body_html', regexp_replace(body_html, '(?s)<style.*?</style>|<[^>]*>', ' ', 'g'), valid_until
    from campaigns.email_drafts
)
select draft_id, field, left(content, 200) as content
from fields
where (
        regexp_matches(
            content,
            '(?i)\b(hurry|flash sale|last chance|act now|act fast|ends soon|ends today|ends tonight|today only|final hours|limited time|don.t miss|selling fast|almost gone|while stocks last|now or never|expires soon|urgent)\b')
        and not coalesce(contains(content, strftime(valid_until, '%-d %B')), false)
    )
    or regexp_matches(content, '(?i)\b(guaranteed?|risk-free|cheapest|miracle|you have won|once in a lifetime)\b|!!')
    or regexp_matches(content, '(?i)\bonly (\w+ ){0,2}left\b')
