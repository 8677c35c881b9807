//! `/bridge/rules`: what bridges bring to Kafka, changed while the cluster runs.
//!
//! The control plane keeps a rule and does not know what it means: whoever would go by it, every bridge
//! that takes part, says first whether it could. A change is agreed on as a setting is, and in force when
//! each bridge goes by it and every gateway sends what it wants.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State as Shared;
use axum::{Extension, Json};
use gatemq_node::config::Problem as Mistake;
use gatemq_proto::cluster::bridge::{CheckRequest, RulesReply, RulesRequest};
use gatemq_proto::cluster::bridges::RULES;
use gatemq_proto::cluster::state::{Configure, command::Kind as Change};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::time::Instant;
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::access::about::About;
use super::access::guard::Caller;
use super::endpoint::Endpoint;
use super::extract::{Json as Body, Path, Query};
use super::lines::{Member, bridges};
use super::problem::Problem;
use super::settings::now;

/// A rule that is there.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
struct Rule {
    name: String,
    /// Its keys, as in the file of a bridge.
    #[schema(value_type = Object)]
    rule: Value,
    /// Where it is from.
    source: RuleSource,
    /// The bridges that have it like this.
    bridges: Vec<String>,
    /// Who set it, and when, in Unix milliseconds; null if it is of a file.
    by: Option<String>,
    at: Option<u64>,
}

/// Where a rule is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum RuleSource {
    /// It was set through this API: it is over what files have under its name.
    Cluster,
    /// The bridges' files.
    File,
}

/// All rules.
#[derive(Debug, Serialize, ToSchema)]
struct Rules {
    /// By name. Bridges with other files than others have a rule of their own under the same name.
    items: Vec<Rule>,
    bridges: Vec<BridgeState>,
    /// Bridges that did not answer: rules of their files are missing.
    unreachable: Vec<String>,
}

/// How a bridge is.
#[derive(Debug, Serialize, ToSchema)]
struct BridgeState {
    name: String,
    /// Changes of rules up to this index are in force here.
    revision: u64,
    /// Why it takes nothing; null if it does.
    problem: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
struct Putting {
    /// Only says whether it could be set.
    dry_run: Option<bool>,
}

/// A rule as it is to be: its keys, as in the file of a bridge.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(value_type = Object)]
struct WantedRule(Map<String, Value>);

/// A change that was made, or that could be.
#[derive(Debug, Serialize, ToSchema)]
struct RuleChanged {
    name: String,
    /// Its index; null where nothing was changed.
    revision: Option<u64>,
    /// Whether each bridge that takes part goes by it and all gateways know; if not, it soon is, or
    /// `GET /bridge/rules` says why not.
    is_in_force: bool,
    /// The bridges where it is not.
    pending: Vec<String>,
}

/// The longest rule, in bytes.
const LONGEST: usize = 16 << 10;
/// How many may be set.
const MOST: usize = 256;
/// How long a change is waited for until it is in force.
const FORCE: Duration = Duration::from_millis(2_500);
/// How long before bridges are asked again.
const PAUSE: Duration = Duration::from_millis(50);

pub(super) fn table() -> Vec<Endpoint> {
    vec![
        Endpoint::get(
            "/bridge/rules",
            "listRules",
            "The rules by which bridges bring messages to Kafka",
            list,
        )
        .answers::<Rules>("In the order of their names"),
        Endpoint::get(
            "/bridge/rules/{name}",
            "showRule",
            "The rules of this name",
            show,
        )
        .answers::<Rules>("One, or one for each that bridges' files have")
        .fails(&[404]),
        Endpoint::put(
            "/bridge/rules/{name}",
            "setRule",
            "Sets a rule, at all bridges, while messages come",
            put,
        )
        .says(
            "The keys are those of bridge.rules in a bridge's file; a Kafka is named as it is called there. It takes \
             the place of the file's rule of its name. Every bridge that takes part says first whether it could go by it. \
             When the answer says is_in_force, whatever is published later and matches goes by it, or is not \
             acknowledged. What was on its way goes by the new rule's way, in order; some of it may come to Kafka twice, \
             under the same id.",
        )
        .query::<Putting>()
        .body::<WantedRule>()
        .answers::<RuleChanged>("It is set")
        .fails(&[409, 503, 504]),
        Endpoint::delete(
            "/bridge/rules/{name}",
            "takeBackRule",
            "Takes a rule back: where a file has one of its name, that is in force again",
            take_back,
        )
        .says(
            "A rule of a file is switched off by setting it with \"enabled\": false. Who waits for Kafka by a rule that is \
             taken back is acknowledged; what it has in a spool is sent to its end. One that is not set is taken back \
             all the same.",
        )
        .answers::<RuleChanged>("It is not set, or not any more")
        .fails(&[503, 504]),
    ]
}

// === handlers ===

async fn list(Shared(api): Shared<Arc<Api>>) -> Json<Rules> {
    Json(api.rules().await)
}

async fn show(
    Shared(api): Shared<Arc<Api>>,
    Path(name): Path<String>,
) -> Result<Json<Rules>, Problem> {
    let mut rules = api.rules().await;
    rules.items.retain(|rule| rule.name == name);
    match rules.items.is_empty() {
        false => Ok(Json(rules)),
        true => Err(Problem::not_found(
            format!("there is no rule {name:?}"),
            "GET /api/v1/bridge/rules lists all rules, and bridges that do not answer",
        )),
    }
}

async fn put(
    Shared(api): Shared<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Extension(about): Extension<About>,
    Path(name): Path<String>,
    Query(putting): Query<Putting>,
    Body(WantedRule(rule)): Body<WantedRule>,
) -> Result<Json<RuleChanged>, Problem> {
    let text = Value::Object(rule).to_string();
    about.say(&format!("rule {name} {text}"));
    if text.len() > LONGEST {
        let detail = format!("rule: has {} bytes, at most {LONGEST} go", text.len());
        return Err(Problem::bad_request(detail));
    }
    let key = format!("{RULES}{name}");
    let state = api.consensus.state();
    let set = state.settings().in_force();
    let n_others = set.filter(|it| it.key.starts_with(RULES) && it.key != key);
    if n_others.count() >= MOST {
        return Err(Problem::conflict(format!("{MOST} rules are set already")));
    }
    api.check_rule(&name, &text).await?;
    if putting.dry_run == Some(true) {
        return Ok(Json(RuleChanged {
            name,
            revision: None,
            is_in_force: false,
            pending: Vec::new(),
        }));
    }
    api.change_rule(name, Some(text), &caller).await.map(Json)
}

async fn take_back(
    Shared(api): Shared<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<Json<RuleChanged>, Problem> {
    api.change_rule(name, None, &caller).await.map(Json)
}

// === impl Api ===

impl Api {
    async fn rules(&self) -> Rules {
        let (answers, unreachable) = self.ask_for_rules().await;
        let state = self.consensus.state();
        let set = state.settings().in_force();
        let set = set.filter_map(|change| Some((change.key.strip_prefix(RULES)?, change)));
        Rules {
            items: merge(set.collect(), &answers),
            bridges: answers.iter().map(how_it_is).collect(),
            unreachable,
        }
    }

    async fn ask_for_rules(&self) -> (Vec<(Member, RulesReply)>, Vec<String>) {
        let request = RulesRequest {
            cluster_id: self.consensus.cluster_id().clone(),
        };
        let all = bridges(&self.consensus.state());
        self.ask_bridges(all, |mut bridge| {
            let request = request.clone();
            async move { bridge.rules(request).await }
        })
        .await
    }

    /// Whether every bridge that answers could go by a rule, and one does answer.
    async fn check_rule(&self, name: &str, text: &str) -> Result<(), Problem> {
        let request = CheckRequest {
            cluster_id: self.consensus.cluster_id().clone(),
            name: name.to_owned(),
            rule: Some(text.to_owned()),
        };
        let all = bridges(&self.consensus.state());
        let (answers, unreachable) = self
            .ask_bridges(all, |mut bridge| {
                let request = request.clone();
                async move { bridge.check(request).await }
            })
            .await;
        let refusal = answers.iter().find(|(_, reply)| !reply.what.is_empty());
        match refusal {
            Some((bridge, reply)) => Err(Problem::bad_rule(
                &bridge.name,
                &Mistake::new(reply.key.as_str(), reply.what.as_str()),
            )),
            None if answers.is_empty() => {
                let detail = match unreachable.is_empty() {
                    true => {
                        "no bridge takes part, and only one can tell what a rule means".to_owned()
                    }
                    false => format!("no bridge answers: {}", unreachable.join(", ")),
                };
                Err(Problem::unavailable(detail))
            }
            None => Ok(()),
        }
    }

    async fn change_rule(
        &self,
        name: String,
        value: Option<String>,
        caller: &Caller,
    ) -> Result<RuleChanged, Problem> {
        let change = Configure {
            key: format!("{RULES}{name}"),
            value,
            by: format!("{}, by the api of {}", caller.name(), self.name),
            at: now(),
        };
        let is_set = change.value.is_some();
        let was_set = self
            .consensus
            .state()
            .settings()
            .value(&change.key)
            .is_some();
        let revision = self.propose(Change::Configure(change)).await?;
        tracing::info!(
            rule = name,
            is_set,
            revision,
            "bridge rule changed by the API"
        );
        // What changes nothing is told to nobody.
        let pending = match is_set || was_set {
            true => self.await_force(revision).await,
            false => Vec::new(),
        };
        Ok(RuleChanged {
            name,
            revision: Some(revision),
            is_in_force: pending.is_empty(),
            pending,
        })
    }

    /// Waits a while until a change is in force; returns where it is not.
    async fn await_force(&self, revision: u64) -> Vec<String> {
        let until = Instant::now() + FORCE;
        loop {
            let (answers, mut pending) = self.ask_for_rules().await;
            let late = answers
                .iter()
                .filter(|(_, reply)| reply.revision < revision);
            pending.extend(late.map(|(bridge, _)| bridge.name.clone()));
            if pending.is_empty() || Instant::now() >= until {
                pending.sort();
                return pending;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

// === pure ===

fn how_it_is((bridge, reply): &(Member, RulesReply)) -> BridgeState {
    BridgeState {
        name: bridge.name.clone(),
        revision: reply.revision,
        problem: (!reply.problem.is_empty()).then(|| reply.problem.clone()),
    }
}

/// Rules that are set, and those that bridges have, each once.
fn merge(set: Vec<(&str, &Configure)>, answers: &[(Member, RulesReply)]) -> Vec<Rule> {
    let set: BTreeMap<&str, &Configure> = set.into_iter().collect();
    // By name, source and text: who has it.
    let mut all: BTreeMap<(&str, RuleSource, &str), BTreeSet<&str>> = BTreeMap::new();
    for (name, change) in &set {
        let text = change.value.as_deref().unwrap_or_default();
        all.insert((name, RuleSource::Cluster, text), BTreeSet::new());
    }
    for (bridge, reply) in answers {
        for rule in &reply.rules {
            let key = match (rule.is_set, set.get(&*rule.name)) {
                (true, Some(change)) => {
                    let text = change.value.as_deref().unwrap_or_default();
                    (&*rule.name, RuleSource::Cluster, text)
                }
                // It was taken back a moment ago.
                (true, None) => (&*rule.name, RuleSource::Cluster, &*rule.rule),
                (false, _) => (&*rule.name, RuleSource::File, &*rule.rule),
            };
            all.entry(key).or_default().insert(&bridge.name);
        }
    }
    let rules = all.into_iter().map(|((name, source, text), bridges)| {
        let change = set.get(name).filter(|_| source == RuleSource::Cluster);
        Rule {
            name: name.to_owned(),
            rule: serde_json::from_str(text).unwrap_or(Value::Null),
            source,
            bridges: bridges.into_iter().map(str::to_owned).collect(),
            by: change.map(|change| change.by.clone()),
            at: change.map(|change| change.at),
        }
    });
    rules.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use gatemq_proto::cluster::bridge;

    fn answer(name: &str, rules: &[(&str, &str, bool)]) -> (Member, RulesReply) {
        let member = Member {
            name: name.to_owned(),
            incarnation: 1,
            address: String::new(),
        };
        let rules = rules.iter().map(|(name, rule, is_set)| bridge::Rule {
            name: (*name).to_owned(),
            rule: (*rule).to_owned(),
            is_set: *is_set,
        });
        let reply = RulesReply {
            rules: rules.collect(),
            ..RulesReply::default()
        };
        (member, reply)
    }

    #[test]
    fn rules_of_several_bridges_are_one_list() {
        let change = Configure {
            key: format!("{RULES}a"),
            value: Some(r#"{"topic":"t"}"#.to_owned()),
            by: "ann".to_owned(),
            at: 7,
        };
        let whole = r#"{"name":"a","topic":"t"}"#;
        let answers = [
            answer("b1", &[("a", whole, true), ("b", "1", false)]),
            answer("b2", &[("a", "2", false), ("b", "1", false)]),
        ];
        let rules = merge(vec![("a", &change)], &answers);
        let shown: Vec<_> = rules
            .iter()
            .map(|rule| (&*rule.name, rule.source, rule.bridges.join("+")))
            .collect();
        let expected = [
            ("a", RuleSource::Cluster, "b1".to_owned()),
            ("a", RuleSource::File, "b2".to_owned()),
            ("b", RuleSource::File, "b1+b2".to_owned()),
        ];
        assert_eq!(shown, expected);
        assert_eq!(rules[0].rule["topic"], "t");
        assert_eq!(
            (rules[0].by.as_deref(), rules[1].by.as_deref()),
            (Some("ann"), None)
        );
    }
}
