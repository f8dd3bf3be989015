#include "profiler.h"

#include "clock.h"

namespace edge {
namespace {

Profiler *wanted = nullptr;

}  // namespace

uint32_t Profiler::begin(const char *name, int64_t node, int64_t subgraph) {
  const size_t index = index_of(name != nullptr ? name : "", node, subgraph);
  next_ = index + 1;
  open_.push_back({index, 0, 0});
  // Last of all, so that the time is the operator's own.
  open_.back().begin_ns = clock_ns();
  return static_cast<uint32_t>(open_.size());
}

void Profiler::end(uint32_t handle) {
  const uint64_t now_ns = clock_ns();
  if (open_.empty() || handle != open_.size()) {
    crossed_ = true;
    return;
  }
  const Open ended = open_.back();
  open_.pop_back();
  const uint64_t elapsed_ns = now_ns - ended.begin_ns;
  Now &now = now_[ended.operator_index];
  now.elapsed_ns += elapsed_ns - ended.inner_ns;
  ++now.runs;
  if (!open_.empty()) open_.back().inner_ns += elapsed_ns;
}

Status Profiler::keep() {
  EDGE_TRY(check());
  for (size_t i = 0; i < operators_.size(); ++i) {
    operators_[i].elapsed_ns.push_back(now_[i].elapsed_ns);
    operators_[i].runs.push_back(now_[i].runs);
  }
  ++invocations_;
  clear();
  return Status();
}

Status Profiler::forget() {
  const Status status = check();
  clear();
  return status;
}

Status Profiler::check() const {
  if (!crossed_ && open_.empty()) return Status();
  return fail(EDGE_RUNTIME,
              "the runtime's profiler contradicts itself: operators begin and end "
              "out of order, so no time per operator can be trusted");
}

void Profiler::clear() {
  for (Now &each : now_) each = {0, 0};
  open_.clear();
  next_ = 0;
  crossed_ = false;
}

// From one invocation to the next the order hardly ever changes.
size_t Profiler::index_of(const char *name, int64_t node, int64_t subgraph) {
  const auto is = [&](const OperatorTime &each) {
    return each.node == node && each.subgraph == subgraph && each.name == name;
  };
  if (next_ < operators_.size() && is(operators_[next_])) return next_;
  for (size_t i = 0; i < operators_.size(); ++i) {
    if (is(operators_[i])) return i;
  }
  // Before it was seen first, it did not run.
  operators_.push_back({name, subgraph, node, std::vector<uint64_t>(invocations_, 0),
                        std::vector<uint32_t>(invocations_, 0)});
  now_.push_back({0, 0});
  return operators_.size() - 1;
}

void profile_with(Profiler *profiler) {
  wanted = profiler;
}

Profiler *wanted_profiler() {
  return wanted;
}

}  // namespace edge
