// The answers of the admin API. Written by tools/console_types.py: do not edit.

declare namespace Api {
  interface AgentLines {
    name: string;
    fits: boolean;
    lines: string;
  }
  interface AgentList {
    base: string;
    key: string;
    note: string;
    agents: AgentLines[];
  }
  interface BeatEvent {
    event: "beat";
  }
  interface CallEnded {
    ended: boolean;
  }
  interface CallTrace {
    began: number;
    lines: [string, string][];
  }
  interface Caller {
    program: string;
    pid: number;
    directory: string;
    repo: string;
    branch: string;
  }
  interface CandidateState {
    provider: string;
    credential: string | null;
    model: string | null;
    base_url: string;
    line: string;
    share: number;
    transforms: TransformState[];
    goes?: boolean | null;
    behind?: Obstacle | null;
    reserves?: Reservation;
    price?: string | null;
    gates?: (LimitState | QuotaState | CooldownState | PauseState | NetworkState)[];
  }
  interface ChildKeyInfo {
    name: string;
    parent: string;
    group: string;
    agent: string;
    begun: number;
    expires: number;
    models: string[];
    budget: string[];
    urgency: string | null;
    takes_login: boolean;
    totals: ChildTotals;
    at: string;
  }
  interface ChildKeyList {
    children: ChildKeyInfo[];
  }
  interface ChildTotals {
    calls: number;
    failed: number;
    input_tokens: number;
    output_tokens: number;
    cache_read_tokens: number;
    charged: number;
    unknown: number;
    waited: number;
  }
  interface ConfigEvent {
    event: "config";
    since: number;
    refused: number;
    paused: string[];
  }
  interface CooldownState {
    what: "cooldown";
    scope: string;
    seconds: number;
    until: number;
    reason: string;
    verdict: string;
    waiting: number;
  }
  interface CredentialState {
    reference: string;
    why_not: string;
  }
  interface DiffLine {
    mark: string;
    line: number;
    text: string;
  }
  interface EditPreview {
    digest: string;
    diff: DiffLine[];
    problems: EditProblem[];
    difference: string[];
    question: Explanation | null;
    matches: string[][];
  }
  interface EditProblem {
    line: number;
    column: number;
    text: string;
    what: string;
    next: string;
  }
  interface EditResult {
    digest: string;
    difference: string[];
    secret: string | null;
    undo: number | null;
  }
  interface EndedCalls {
    cut: number;
  }
  interface ErrorBody {
    code: string;
    message: string;
    problems: FileProblem[];
    digest?: string;
    changed?: string[] | null;
  }
  interface ErrorResponse {
    error: ErrorBody;
  }
  interface Explanation {
    key: string;
    group: string;
    model: string;
    allowed: boolean;
    enabled: boolean;
    urgency: string;
    max_wait: number;
    live: boolean;
    home: string | null;
    waiting: number | null;
    candidates: CandidateState[];
    skipped: SkippedRoute[];
    subscriptions: SubscriptionState[];
    now: ForecastOutcome | null;
    notes: string[];
  }
  interface FileEvent {
    at: number;
    accepted: boolean;
    lines: string[];
  }
  interface FilePage {
    file: string;
    digest: string;
    in_force: string;
    text: string;
    accepted_at: number;
    refused_at: number | null;
    problems: FileProblem[];
    warnings: FileProblem[];
    stays: string[];
    history: FileEvent[];
    versions: Version[];
  }
  interface FileProblem {
    line: number;
    column: number;
    text: string;
  }
  interface FileState {
    file: string;
    digest: string;
    accepted_at: number;
    error: string | null;
    error_at: number | null;
    stays: string[];
  }
  interface FlushReport {
    written: boolean;
  }
  interface ForecastOutcome {
    outcome: string;
    provider: string | null;
    credential: string | null;
    status: number | null;
    seconds: number | null;
    text: string;
  }
  interface GroupInfo {
    name: string;
    vendor: string;
    vendor_title: string;
    description: string;
    multiplier: string;
    providers: RouteState[];
    keys: string[];
    line: number;
    limits: Record<string, any>;
    budget?: string[];
    in_flight: number;
    uses: LimitState[];
    paused: PauseMark[];
  }
  interface GroupList {
    digest: string;
    groups: GroupInfo[];
    providers: ProviderInfo[];
    vendors: NamedTitle[];
  }
  interface GroupPage {
    digest: string;
    group: GroupInfo;
    written: Record<string, any>;
    routes: RouteFields[];
    providers: NamedTitle[];
  }
  interface InheritedFields {
    urgency: any;
    models: any;
  }
  interface KeyInfo {
    name: string;
    group: string;
    vendor: string;
    vendor_title: string;
    description: string;
    status: KeyStatus;
    urgency: string;
    created: number | null;
    expires: number | null;
    previous_until: number | null;
    models: string[];
    own_routes: boolean;
    line: number;
    times: KeyTimes;
    limits: Record<string, any>;
    budget?: string[];
    paused: PauseMark[];
  }
  interface KeyList {
    digest: string;
    keys: KeyInfo[];
  }
  interface KeyPage {
    digest: string;
    key: KeyInfo;
    written: Record<string, any>;
    inherited: InheritedFields;
    routes: RouteFields[];
    group_routes: RouteFields[];
    providers: NamedTitle[];
    uses: LimitState[];
    in_flight: number;
  }
  type KeyStatus = "enabled" | "disabled" | "expired" | "no_secret";
  interface KeyTimes {
    last_seen: number | null;
    last_used: number | null;
    last_refused: number | null;
    program: string;
    host: string;
  }
  interface KeyTimesList {
    keys: Record<string, KeyTimes>;
  }
  interface KeysEvent {
    event: "keys";
    keys: Record<string, KeyTimes>;
  }
  interface LedgerState {
    healthy: boolean;
    failures: number;
  }
  interface LimitState {
    what: "limit";
    scope: string;
    kind: string;
    models: string | null;
    unit: string;
    limit: number;
    used: number | null;
    reserved: number | null;
    left: number | null;
    kept: number | null;
    reset: number | null;
    line: string;
    waiting: number;
  }
  interface LiveCallState {
    call: string;
    state: string;
    key: string | null;
    child: string | null;
    group: string | null;
    urgency: string | null;
    program: string | null;
    caller: Caller | null;
    endpoint: string | null;
    model: string | null;
    streaming: boolean;
    provider: string | null;
    credential: string | null;
    model_served: string | null;
    attempts: number;
    age: number;
    waited: number;
    first_byte: number | null;
    bytes: number;
    input_tokens: number | null;
    output_tokens: number | null;
  }
  interface LiveEvent {
    event: "live";
    at: number;
    pid: number;
    started: number;
    in_flight: number;
    waiting: Record<string, number>;
    granted: number;
    calls: LiveCallState[];
    lines: QueuedCall[];
    limits: LimitState[];
    quotas: UpstreamQuota[];
    cooldowns: UpstreamCooldown[];
    subscriptions: SubscriptionState[];
    holds: PauseState[];
    network: NetworkState;
    shared: SharedServerState | null;
    unpriced: UnpricedUse[];
    retries: RetriesLeft;
  }
  interface LiveState {
    at: number;
    pid: number;
    started: number;
    in_flight: number;
    waiting: Record<string, number>;
    granted: number;
    calls: LiveCallState[];
    lines: QueuedCall[];
    limits: LimitState[];
    quotas: UpstreamQuota[];
    cooldowns: UpstreamCooldown[];
    subscriptions: SubscriptionState[];
    holds: PauseState[];
    network: NetworkState;
    shared: SharedServerState | null;
    unpriced: UnpricedUse[];
    retries: RetriesLeft;
  }
  interface ModelUse {
    id: string;
    keys: string[];
  }
  interface ModelUses {
    models: ModelUse[];
  }
  interface NamedTitle {
    name: string;
    title: string;
    translate: boolean;
  }
  interface NetworkState {
    what: "network";
    up: boolean;
    seconds: number | null;
    waiting: number;
  }
  interface NodesUsage {
    is_shared: boolean;
    nodes: UsageNode[];
    failure: string;
    left_out: number;
    days: Record<string, Record<string, string>>;
  }
  interface Obstacle {
    gate: string;
    scope: string;
    kind: string;
    before: number | null;
    opens: number | null;
  }
  interface OverEvent {
    event: "over";
  }
  interface PauseChoices {
    names: Record<string, string[]>;
    holds: PauseState[];
  }
  interface PauseMark {
    kind: string;
    name: string;
    scope: string;
    since: number;
    by: string | null;
    shared: boolean;
  }
  interface PauseResult {
    kind: string;
    name: string;
    scope: string;
    resume: string;
    news: boolean;
    running: number;
    waiting: number;
    kept: boolean;
    shared: boolean;
  }
  interface PauseState {
    what: "hold";
    scope: string;
    kind: string;
    name: string;
    since: number;
    by: string | null;
    shared: boolean;
    resume: string;
    waiting: number;
  }
  interface PausedScope {
    kind: string;
    name: string;
    scope: string;
    resume: string;
  }
  interface ProbeResult {
    status: number | null;
    ms: number;
    models: number;
    why_not: string;
  }
  interface ProcessStatus {
    version: string;
    pid: number;
    started: number;
    listen: string[];
    admin: string;
    console: string;
    config: FileState;
    providers: ProviderSummary[];
    keys: number;
    prices: string;
    in_flight: number;
    waiting: number;
    holds: PauseState[];
    network: NetworkState;
    shared: SharedServerState | null;
    nodes: SharedNode[];
    subscriptions: SubscriptionState[];
    plugin_problems: string[];
    ledger: LedgerState;
  }
  interface ProviderInfo {
    name: string;
    vendor: string;
    vendor_title: string;
    serves: string[];
    base_url: string;
    credentials: CredentialState[];
    available: boolean;
    why_not: string;
    free: boolean;
    groups: string[];
    line: number;
    limits: Record<string, any>;
    budget?: string[];
    resting: UpstreamCooldown[];
    quotas: UpstreamQuota[];
    uses: ProviderLimitState[];
    paused: PauseMark[];
  }
  interface ProviderLimitState {
    what: "limit";
    scope: string;
    kind: string;
    models: string | null;
    unit: string;
    limit: number;
    used: number | null;
    reserved: number | null;
    left: number | null;
    kept: number | null;
    reset: number | null;
    line: string;
    waiting: number;
    credential: string;
  }
  interface ProviderPage {
    digest: string;
    provider: ProviderInfo;
    written: Record<string, any>;
  }
  interface ProviderSummary {
    name: string;
    vendor: string;
    available: boolean;
    reason: string;
    credentials: Record<string, string>;
  }
  interface QueuePlace {
    gate: string;
    scope: string;
    kind: string;
    provider: string;
    before: number | null;
    waiting: number;
    opens: number | null;
  }
  interface QueuedCall {
    call: string;
    key: string;
    group: string | null;
    urgency: string;
    model: string | null;
    waited: number;
    remaining_wait: number | null;
    behind: QueuePlace[];
  }
  interface QuotaState {
    what: "quota";
    scope: string;
    kind: string;
    unit: string;
    limit: number;
    used: number | null;
    left: number | null;
    reset: number | null;
    waiting: number;
  }
  interface RecentUsage {
    days: string[];
    keys: Record<string, RecentUse>;
    spikes: Record<string, UsageSpike>;
  }
  interface RecentUse {
    today: UsageSums;
    tokens: (number | null)[];
    new: string[];
  }
  interface RecordedCall {
    call_id: string;
    started: string;
    key: string;
    group: string;
    provider: string;
    model: string | null;
    status: number;
    outcome: string;
    duration: number;
    usage: string;
    input_tokens: number | null;
    output_tokens: number | null;
    cost_usd: number | null;
  }
  interface RecordedCalls {
    calls: RecordedCall[];
  }
  interface ReloadReport {
    accepted: boolean;
    digest: string;
    problems: string[];
    difference: string[];
  }
  interface Reservation {
    input_tokens: number | null;
    output_tokens: number;
    usd: number | null;
    learned: boolean;
  }
  interface ResumeResult {
    kind: string;
    name: string;
    scope: string;
    resume: string;
    news: boolean;
    running: number;
    waiting: number;
    kept: boolean;
    shared: boolean;
    still: PausedScope[];
  }
  interface RetriesLeft {
    left: number;
    most: number;
  }
  interface RouteFields {
    provider: string;
    enabled: boolean;
    models: (string | number | boolean | null)[];
    as: string | number | boolean | null | Record<string, string | number | boolean | null>;
    limits: Record<string, any>;
    max_input: string | number | boolean | null;
    priced_as: string | number | boolean | null;
    retry: string | number | boolean | null;
    translate: boolean;
    redact: (string | number | boolean | null)[];
    transforms: Record<string, any>;
    weight: string | number | boolean | null;
    beside: boolean;
  }
  interface RouteState {
    provider: string;
    enabled: boolean;
    models: string[];
  }
  interface SharedNode {
    host: string;
    version: string;
    digest: string;
    is_this: boolean;
  }
  interface SharedServerState {
    up: boolean;
    failure: string;
    seconds: number;
    processes: number;
    latency: number;
  }
  interface SkippedRoute {
    provider: string;
    why: string;
  }
  interface SubscriptionState {
    provider: string;
    key: string;
    window: string;
    used: number;
    reset: number | null;
  }
  interface TransformState {
    name: string;
    to: string | null;
    losses: string[];
  }
  interface UnpricedUse {
    key: string;
    model: string;
    provider: string;
  }
  interface UpstreamCooldown {
    what: "cooldown";
    scope: string;
    seconds: number;
    until: number;
    reason: string;
    verdict: string;
    waiting: number;
    provider: string;
    credential: string | null;
    family: string | null;
  }
  interface UpstreamQuota {
    what: "quota";
    scope: string;
    kind: string;
    unit: string;
    limit: number;
    used: number | null;
    left: number | null;
    reset: number | null;
    waiting: number;
    provider: string;
    credential: string | null;
    family: string | null;
  }
  interface UsageLine {
    calls: number;
    unknown_calls: number;
    partial_calls: number;
    input_tokens: number | null;
    output_tokens: number | null;
    cache_read_tokens: number | null;
    cache_write_tokens: number | null;
    reasoning_tokens: number | null;
    cost_usd: number | null;
    unpriced_calls: number;
    tokens: number | null;
    costs_all: boolean;
    counts_all: boolean;
    cached: number | null;
    name: string;
  }
  interface UsageNode {
    name: string;
    written: number | null;
    is_this: boolean;
  }
  interface UsageOverview {
    days: string[];
    daily: UsageSums[];
    total: UsageSums;
    lines: UsageLine[];
    left_out: number;
    kept_since: number | null;
    by: string;
    budgets: LimitState[];
    nodes: UsageNode[];
    only_this: string;
  }
  interface UsageSheet {
    name: string;
    csv: string;
  }
  interface UsageSpike {
    measure: string;
    amount: number;
    usual: number;
  }
  interface UsageSums {
    calls: number;
    unknown_calls: number;
    partial_calls: number;
    input_tokens: number | null;
    output_tokens: number | null;
    cache_read_tokens: number | null;
    cache_write_tokens: number | null;
    reasoning_tokens: number | null;
    cost_usd: number | null;
    unpriced_calls: number;
    tokens: number | null;
    costs_all: boolean;
    counts_all: boolean;
    cached: number | null;
  }
  interface Version {
    number: number;
    at: number;
    digest: string;
    difference: string[];
  }
  interface VersionPage {
    number: number;
    text: string;
    diff: DiffLine[];
  }
  type StreamEvent = ConfigEvent | KeysEvent | LiveEvent | BeatEvent | OverEvent;
  interface Get {
    "status": ProcessStatus;
    "keys": KeyList;
    "times": KeyTimesList;
    "key": KeyPage;
    "child-keys": ChildKeyList;
    "groups": GroupList;
    "group": GroupPage;
    "provider": ProviderPage;
    "models": ModelUses;
    "explain": Explanation;
    "agents": AgentList;
    "config": FilePage;
    "version": VersionPage;
    "live": LiveState;
    "pause": PauseChoices;
    "usage": UsageOverview;
    "usage/csv": UsageSheet;
    "usage/nodes": NodesUsage;
    "recent": RecentUsage;
    "calls": RecordedCalls;
    "call": CallTrace;
  }
  interface Post {
    "keys/{}/revoke": EndedCalls;
    "child-keys": ChildKeyInfo;
    "child-keys/{}/end": ChildKeyInfo;
    "probe": ProbeResult;
    "changes": EditPreview | EditResult;
    "calls/{}/end": CallEnded;
    "reload": ReloadReport;
    "flush": FlushReport;
    "pause/{}/{}": PauseResult;
    "resume/{}/{}": ResumeResult;
  }
}
