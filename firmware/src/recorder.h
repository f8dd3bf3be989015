// A recording that is being written.
#ifndef EDGE_RECORDER_H
#define EDGE_RECORDER_H

#include "edge.h"
#include "file.h"
#include "pace.h"
#include "schedule.h"

struct edge_recorder {
  edge::Descriptor file;
  edge_recording_header *header = nullptr;
  edge_sample *samples = nullptr;
  size_t mapping_bytes = 0;
  edge_measured measured = {};  // by the last measurement
  edge::Paces paces;
  edge::Schedule schedule;

  ~edge_recorder();
  bool full() const { return header->count >= header->capacity; }
  // The count is published after the sample: whoever maps the file sees whole samples only.
  void append(const edge_sample &sample) {
    samples[header->count] = sample;
    __atomic_store_n(&header->count, header->count + 1, __ATOMIC_RELEASE);
  }
};

#endif  // EDGE_RECORDER_H
