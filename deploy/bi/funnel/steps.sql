-- How far sessions of people got.
select s.step, s.name, count(f.session_key) as sessions
from (
    select 0 as step, 'any click' as name
    union all select 1, 'a page'
    union all select 2, 'content'
    union all select 3, 'conversion'
) s
left join (select session_key, funnel_step from dwh.fact_clickstream where not is_bot) f on f.funnel_step >= s.step
group by s.step, s.name
order by step
