// When samples start, by a clock that only moves when it is told to.
#include <string>
#include <vector>

#include "check.h"
#include "clock.h"
#include "measure.h"
#include "recorder.h"
#include "synthetic.h"

namespace edge {
namespace {

struct Outcome {
  std::vector<edge_sample> samples;
  std::vector<edge_pace> paces;
  uint32_t iterations = 0;
};

Outcome run(const std::string &spec, const edge_plan &plan) {
  test::TemporaryFolder folder;
  edge_recorder *recorder = nullptr;
  CHECK(edge_recorder_open(folder.file("s.bin").c_str(), plan.samples, &recorder) == EDGE_OK);
  recorder->header->tick_ns = 1;
  Synthetic synthetic;
  CHECK(Synthetic::parse(spec, plan.seed, &synthetic).ok());
  MeasureReport report;
  CHECK(measure_virtually(
            recorder, plan,
            [](void *context) { return static_cast<Synthetic *>(context)->invoke_virtually(); },
            &synthetic, &report)
            .ok());
  Outcome outcome;
  outcome.samples.assign(recorder->samples, recorder->samples + recorder->header->count);
  outcome.paces.assign(recorder->paces.begin(), recorder->paces.begin() + recorder->paces.count());
  outcome.iterations = report.iterations;
  CHECK(edge_recorder_close(recorder) == EDGE_OK);
  return outcome;
}

edge_plan plan_of(uint64_t samples) {
  edge_plan plan = {};
  plan.samples = samples;
  plan.seed = 1;
  return plan;
}

}  // namespace

TEST(schedule, a_closed_loop_is_due_when_it_starts) {
  edge_plan plan = plan_of(50);
  plan.iterations = 1;
  const Outcome outcome = run("noisy:us=100", plan);
  for (const edge_sample &each : outcome.samples) {
    CHECK(each.due_ns == each.start_ns);
    CHECK(each.elapsed_ns == 100000 + VirtualClock::reading_ns);
  }
}

TEST(schedule, an_open_loop_is_due_at_its_rate_whatever_the_model_does) {
  edge_plan plan = plan_of(1000);
  plan.interval_ns = 1000000;
  // Every 100 ms it stands still for 10 ms, in which ten become due.
  const Outcome outcome = run("stall:us=100,period_ms=100,stall_ms=10", plan);
  CHECK(outcome.iterations == 1);
  size_t late = 0;
  for (size_t i = 0; i < outcome.samples.size(); ++i) {
    const edge_sample &each = outcome.samples[i];
    if (i > 0) CHECK(each.due_ns - outcome.samples[i - 1].due_ns == 1000000);
    CHECK(each.start_ns >= each.due_ns);
    late += each.start_ns > each.due_ns + 1000;
  }
  // Of each ten that are due in a stall nine begin too late, and then the queue is worked off.
  CHECK(late >= 9 * 9 && late <= 9 * 12);
}

TEST(schedule, poisson_arrivals_have_the_rate_and_the_spread_of_an_exponential) {
  edge_plan plan = plan_of(20000);
  plan.interval_ns = 1000000;
  plan.poisson = 1;
  const Outcome outcome = run("noisy:us=1", plan);
  double sum = 0, squares = 0;
  size_t below = 0;
  const size_t count = outcome.samples.size() - 1;
  for (size_t i = 0; i < count; ++i) {
    const double gap =
        static_cast<double>(outcome.samples[i + 1].due_ns - outcome.samples[i].due_ns) / 1e6;
    sum += gap;
    squares += gap * gap;
    below += gap < 0.6931471805599453;  // its median
  }
  const double mean = sum / static_cast<double>(count);
  const double variance = squares / static_cast<double>(count) - mean * mean;
  CHECK(mean > 0.97 && mean < 1.03);
  CHECK(variance > 0.93 && variance < 1.07);
  CHECK(below > 9700 && below < 10300);
  // The same seed, the same arrivals; another, others.
  const auto gap = [](const Outcome &of) { return of.samples[500].due_ns - of.samples[0].due_ns; };
  CHECK(gap(run("noisy:us=1", plan)) == gap(outcome));
  plan.seed = 2;
  CHECK(gap(run("noisy:us=1", plan)) != gap(outcome));
}

TEST(schedule, an_idle_pause_comes_before_every_invocation) {
  edge_plan plan = plan_of(100);
  plan.idle_ns = 5000000;
  const Outcome outcome = run("noisy:us=100", plan);
  CHECK(outcome.iterations == 1);
  for (size_t i = 1; i < outcome.samples.size(); ++i) {
    const edge_sample &before = outcome.samples[i - 1], &each = outcome.samples[i];
    CHECK(each.start_ns - before.start_ns - before.elapsed_ns >= 5000000);
    CHECK(each.due_ns == each.start_ns);
  }
}

TEST(pace, readings_are_spread_over_a_run_of_any_length) {
  Paces paces;
  uint64_t now = 0;
  for (; now < 100000000000u; now += 1000000) {
    if (paces.due(now)) paces.add(now, 1);
  }
  CHECK(paces.count() > EDGE_MAX_PACES / 2 && paces.count() <= EDGE_MAX_PACES);
  CHECK(paces.begin()[0].time_ns == 0);
  CHECK(paces.begin()[paces.count() - 1].time_ns > 99000000000u);
}

TEST(pace, a_reading_takes_a_cycle_an_addition_or_more) {
  const uint64_t taken = pace_ns();
  // No core here adds at more than 10 GHz.
  CHECK(taken * 10 >= EDGE_PACE_ADDS);
}

TEST(pace, throttling_shows_in_it) {
  edge_plan plan = plan_of(30000);
  plan.iterations = 1;
  const Outcome outcome = run("throttling:us=100,at_s=1,factor=2", plan);
  CHECK(outcome.paces.size() > 50);
  size_t before = 0, after = 0;
  for (const edge_pace &each : outcome.paces) {
    before += each.elapsed_ns == EDGE_PACE_ADDS;
    after += each.elapsed_ns == 2 * EDGE_PACE_ADDS;
  }
  CHECK(before > 20 && after > 20 && before + after == outcome.paces.size());
}

TEST(synthetic, is_told_what_is_wrong_with_its_text) {
  Synthetic synthetic;
  CHECK(!Synthetic::parse("sinus:us=3", 1, &synthetic).ok() && test::says("no shape 'sinus'"));
  CHECK(!Synthetic::parse("noisy:us", 1, &synthetic).ok() && test::says("'us'"));
  CHECK(!Synthetic::parse("noisy:us=-1", 1, &synthetic).ok() && test::says("'us=-1'"));
  CHECK(!Synthetic::parse("noisy:us=nan", 1, &synthetic).ok());
  CHECK(!Synthetic::parse("noisy:u=1", 1, &synthetic).ok() && test::says("'u=1'"));
  CHECK(Synthetic::parse("noisy", 1, &synthetic).ok());
}

TEST(synthetic, real_time_is_what_it_says) {
  Synthetic synthetic;
  CHECK(Synthetic::parse("noisy:us=200", 1, &synthetic).ok());
  const uint64_t begin = clock_ns();
  for (int i = 0; i < 10; ++i) CHECK(synthetic.invoke() == 0);
  CHECK(clock_ns() - begin >= 2000000);
}

}  // namespace edge
