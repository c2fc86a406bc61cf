use super::{simulated_day::Random, *};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_764_000_000_000 + 1000 * seconds)
}

fn id(number: u64) -> TokenId {
    TokenId::from_number(number)
}

fn window(earliest: i64, latest: i64) -> Window {
    Window { earliest: at(earliest), latest: at(latest), renewed: Renewed::Here(at(0)) }
}

fn schedule() -> Schedule {
    Schedule::new(Settings::new(1))
}

impl Schedule {
    /// Of how many tokens it is known how often they are renewed.
    fn known(&self) -> u64 {
        self.tiers.known() + self.standby.known()
    }
}

/// The second of each token's moment.
fn moments(schedule: &mut Schedule, last: i64) -> BTreeMap<TokenId, i64> {
    let seconds = 0..=last;
    seconds
        .flat_map(|second| {
            let due = schedule.due(at(second), usize::MAX);
            due.into_iter().map(move |id| (id, second))
        })
        .collect()
}

#[test]
fn a_token_is_due_once_inside_its_window_and_late_in_it() {
    let mut schedule = schedule();
    assert!(schedule.insert(&id(1), window(1800, 3540), at(0)));
    let next = schedule.next_due().unwrap();
    assert!(at(3400) < next && next <= at(3540), "{next:?}");
    assert_eq!(schedule.due(next.minus(std::time::Duration::from_millis(1)), 9), []);
    assert_eq!(schedule.due(next, 9), [id(1)]);
    assert_eq!(schedule.due(at(9999), 9), []);
    assert_eq!((schedule.next_due(), schedule.len()), (None, 1));
    let Counts { named, late, touched, .. } = schedule.counts();
    assert_eq!((named, late, touched), (1, 0, 2));
}

#[test]
fn a_token_that_was_removed_is_not_due_wherever_it_stood() {
    let mut schedule = schedule();
    // Three in one second: the first, the last and the one between are taken out of the list.
    for gone in 1..=3 {
        for number in 1..=3 {
            schedule.insert(&id(number), window(10, 10), at(0));
        }
        assert!(schedule.remove(&id(gone)));
        assert!(!schedule.remove(&id(gone)));
        let mut due = schedule.due(at(10), 9);
        due.sort();
        assert_eq!(due, (1..=3).filter(|n| *n != gone).map(id).collect::<Vec<_>>());
    }
    schedule.insert(&id(1), window(-5, -5), at(0));
    assert_eq!(schedule.waiting(), 1);
    assert!(schedule.remove(&id(1)));
    assert_eq!(schedule.due(at(10), 9), []);
    assert!(!schedule.retry(&id(1), at(5), at(0)));
}

#[test]
fn what_ends_first_comes_first_and_what_is_over_the_limit_stays_due() {
    let mut schedule = schedule();
    for (number, latest) in (0..).zip([-10, -30, 50, -20, -40]) {
        schedule.insert(&id(number), window(-100, latest), at(0));
    }
    assert_eq!(schedule.due(at(0), 0), []);
    assert_eq!(schedule.next_due(), Some(Timestamp::from_millis(i64::MIN)));
    assert_eq!(schedule.due(at(0), 3), [id(4), id(1), id(3)]);
    assert_eq!(schedule.waiting(), 1);
    assert_eq!(schedule.due(at(50), 3), [id(0), id(2)]);
    assert_eq!(schedule.counts().late, 4);
}

#[test]
fn a_clock_that_is_set_back_loses_and_doubles_nothing() {
    let mut schedule = schedule();
    for number in 0..10 {
        schedule.insert(&id(number), window(100, 200), at(0));
    }
    assert_eq!(schedule.due(at(300), 4).len(), 4);
    // Ten hours back: what was due is, what comes in now has its moment by the new time.
    assert_eq!(schedule.due(at(-36_000), 4).len(), 4);
    assert!(schedule.insert(&id(10), window(-35_900, -35_800), at(-36_000)));
    assert_eq!(schedule.due(at(-35_990), 9).len(), 2);
    assert_eq!(schedule.due(at(-35_800), 9), [id(10)]);
    assert_eq!(schedule.due(at(300), 9), []);
}

#[test]
fn hours_asleep_make_all_due_in_the_order_they_end() {
    let mut schedule = schedule();
    let settings = *schedule.settings();
    let (tokens, limit) = (20_000, 100);
    let end = |number: u64| at(100 + (number as i64 * 7919) % 3500);
    for number in 0..tokens {
        schedule.insert(&id(number), settings.found(at(0), end(number)), at(0));
    }
    let mut ends = Vec::new();
    let mut begun = vec![0; 2 * 3600];
    for second in 0..7200 {
        let now = at(36_000 + second);
        let due = schedule.due(now, limit);
        assert!(due.len() <= limit);
        for id in due {
            begun[second as usize] += 1;
            if ends.len() < tokens as usize {
                ends.push(end(id.number().unwrap()));
            }
            let life = settings.renewed(now, now.plus(std::time::Duration::from_secs(3600)));
            assert!(!schedule.insert(&id, life, now));
        }
    }
    assert_eq!(ends.len(), tokens as usize);
    assert!(ends.is_sorted());
    // 200 seconds at the limit; from then on as level as the second half of a life allows.
    assert!(begun[..200].iter().all(|begun| *begun == limit));
    let most = begun[200..].iter().max().copied().unwrap();
    assert!(most as f64 <= 1.3 * tokens as f64 / 1740.0, "{most} in a second");
}

#[test]
fn a_retry_keeps_its_rank_and_does_not_come_with_the_others() {
    let mut schedule = schedule();
    for number in 0..100 {
        schedule.insert(&id(number), window(-100, -(number as i64)), at(0));
    }
    assert_eq!(schedule.due(at(0), 100).len(), 100);
    for number in 0..100 {
        assert!(schedule.retry(&id(number), at(5), at(0)));
    }
    assert_eq!(schedule.due(at(4), 100), []);
    assert_eq!(schedule.due(at(5), 100).len(), 100, "past the window there is no time to spread");

    let alone = |number| {
        let mut schedule = self::schedule();
        schedule.insert(&id(number), window(6, 100), at(5));
        assert!(schedule.retry(&id(number), at(15), at(5)));
        moments(&mut schedule, 200)[&id(number)]
    };
    let alone: BTreeSet<_> = (0..100).map(alone).collect();
    assert_eq!(alone, (15..=25).collect());

    schedule.insert(&id(2), window(0, 50), at(200));
    for number in [0, 1] {
        assert!(schedule.retry(&id(number), at(205), at(200)));
    }
    assert_eq!(schedule.due(at(205), 9), [1, 0, 2].map(id), "as their windows ended");
}

#[test]
fn two_hosts_that_have_seen_each_other_do_not_come_at_the_same_moment() {
    for tokens in [100, 20_000] {
        let [one, other] = [1, 2].map(|seed| {
            let mut schedule = Schedule::new(Settings::new(seed));
            let theirs = schedule.settings().renewed_elsewhere(at(0), at(3600), at(0));
            schedule.insert(&id(tokens), theirs, at(0));
            schedule.remove(&id(tokens));
            let window = schedule.settings().found(at(0), at(3600));
            for number in 0..tokens {
                schedule.insert(&id(number), window, at(0));
            }
            moments(&mut schedule, 3540)
        });
        let together = one.iter().filter(|(id, at)| (other[id] - **at).abs() <= 1).count();
        assert!(together as f64 <= 0.02 * tokens as f64, "{together} of {tokens}");
    }
}

#[test]
fn the_same_seed_gives_the_same_moments() {
    let [one, other] = [7, 7].map(|seed| {
        let mut schedule = Schedule::new(Settings::new(seed));
        for number in 0..1000 {
            schedule.insert(&id(number), window(0, 3540), at(0));
        }
        moments(&mut schedule, 3540)
    });
    assert_eq!(one, other);
}

#[test]
fn tokens_that_live_for_months_are_levelled_over_months() {
    let mut schedule = schedule();
    let (day, tokens) = (86_400, 20_000);
    for number in 0..tokens {
        schedule.insert(&id(number), window(0, 90 * day), at(0));
    }
    // Fewer than one a second is no load, so a faster pace is allowed for; but not one burst.
    let days = (0..=90).map(|number| schedule.due(at(number * day), usize::MAX).len());
    let days: Vec<_> = days.collect();
    assert_eq!(days.iter().sum::<usize>(), tokens as usize);
    let most = days.iter().max().copied().unwrap();
    assert!(most as f64 <= 1.3 * tokens as f64 / (90.0 / 16.0), "{days:?}");
}

/// What each token was last told, in the plainest way there is.
#[derive(Clone, Copy, Debug)]
enum Told {
    Named,
    Wanted { earliest: i64, latest: i64 },
}

#[test]
fn whatever_is_done_each_token_is_due_in_its_window_and_only_once() {
    for seed in 0..200 {
        let mut random = Random(seed);
        let mut schedule = Schedule::new(Settings::new(seed));
        let mut told: BTreeMap<TokenId, Told> = BTreeMap::new();
        let mut now = 0;
        let mut farthest = 0;
        for _ in 0..300 {
            let token = id(random.below(20));
            let earliest = now + random.below(400) as i64 - 100;
            let latest = earliest + random.below(10_000) as i64 - 100;
            let wanted = Told::Wanted { earliest, latest };
            match random.below(8) {
                0 | 1 => {
                    let new = schedule.insert(&token, window(earliest, latest), at(now));
                    assert_eq!(new, told.insert(token, wanted).is_none());
                }
                2 if told.contains_key(&token) => {
                    assert!(!schedule.insert(&token, window(earliest, latest), at(now)));
                    told.insert(token, wanted);
                }
                2 => {}
                3 => {
                    let pause = random.below(60) as i64;
                    let kept = schedule.retry(&token, at(now + pause), at(now));
                    assert_eq!(kept, told.contains_key(&token));
                    let (earliest, latest) = (now + pause, now + 2 * pause);
                    let wanted = Told::Wanted { earliest, latest };
                    told.entry(token).and_modify(|told| *told = wanted);
                }
                4 => assert_eq!(schedule.remove(&token), told.remove(&token).is_some()),
                5 => now -= random.below(500) as i64,
                _ => now += random.below(1000) as i64,
            }
            farthest = farthest.max(now);
            let limit = if random.below(2) == 0 { usize::MAX } else { 2 };
            for id in schedule.due(at(now), limit) {
                match told.insert(id.clone(), Told::Named) {
                    Some(Told::Wanted { earliest, latest }) => {
                        assert!(earliest.min(latest) <= farthest, "{id:?} is early");
                    }
                    other => panic!("seed {seed}: {id:?} is due, but {other:?}"),
                }
            }
            for (id, told) in &told {
                if let Told::Wanted { earliest, latest } = told
                    && limit > 2
                {
                    let over = (*latest).max(*earliest) < now;
                    assert!(!over, "seed {seed}: {id:?} is not due at {now}, but {told:?}");
                }
            }
            assert_eq!(schedule.len(), told.len());
            assert!(schedule.known() <= told.len() as u64);
        }
        assert!(told.keys().all(|id| schedule.remove(id)));
        assert_eq!((schedule.len(), schedule.next_due()), (0, None));
        assert_eq!(schedule.known(), 0);
    }
}

#[test]
fn what_another_host_renewed_comes_after_what_this_one_would_and_still_in_time() {
    let mut schedule = schedule();
    let settings = *schedule.settings();
    // A quarter of the margin is the others'.
    let (end, theirs) = (3540, 15);
    for number in 0..1000 {
        schedule.insert(&id(number), settings.renewed(at(0), at(3600)), at(0));
        let theirs = settings.renewed_elsewhere(at(0), at(3600), at(0));
        schedule.insert(&id(1000 + number), theirs, at(0));
    }
    let moments = moments(&mut schedule, end);
    let of = |from| (from..from + 1000).map(|number| moments[&id(number)]);
    assert!(of(0).all(|at| at <= end - theirs));
    assert!(of(1000).all(|at| at < end), "{:?}", of(1000).max());
    let after = of(1000).filter(|at| end - theirs < *at).count();
    // A thousand do not fit into so few seconds, where all are level.
    assert!((10..1000).contains(&after), "{after}");
}
