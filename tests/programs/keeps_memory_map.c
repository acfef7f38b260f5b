// The memory map is the same after as before: every address, protection, offset and file.
#include "target.h"

enum { kMaxEntries = 512, kNameBytes = 200 };

struct Entry {
  unsigned long start, end, offset;
  char protection[8];
  char name[kNameBytes];
};

// Static, so that taking the map does not change it.
static struct Entry before[kMaxEntries];
static struct Entry after[kMaxEntries];
static char text[256 * 1024];

static bool continues(const struct Entry* left, const struct Entry* right) {
  bool anonymous = left->name[0] != '/';
  return left->end == right->start && strcmp(left->protection, right->protection) == 0 &&
         strcmp(left->name, right->name) == 0 &&
         (anonymous || left->offset + (left->end - left->start) == right->offset);
}

// Neighbours that the kernel may or may not join count as one.
static size_t take_map(struct Entry* entries) {
  FILE* maps = fopen("/proc/self/maps", "re");
  target_require(maps != NULL, "/proc/self/maps");
  setvbuf(maps, text, _IOFBF, sizeof text);
  size_t count = 0;
  char line[512];
  while (fgets(line, sizeof line, maps) != NULL) {
    struct Entry entry = {0};
    if (sscanf(line, "%lx-%lx %7s %lx %*s %*s %199[^\n]", &entry.start, &entry.end, entry.protection,
               &entry.offset, entry.name) < 4) {
      continue;
    }
    if (count > 0 && continues(&entries[count - 1], &entry)) {
      entries[count - 1].end = entry.end;
      continue;
    }
    target_require(count < kMaxEntries, "too many mappings");
    entries[count++] = entry;
  }
  fclose(maps);
  return count;
}

static void differs(const char* what, const struct Entry* entry) {
  target_differs("%s: %lx-%lx %s %lx %s", what, entry->start, entry->end, entry->protection, entry->offset,
                 entry->name);
}

static bool same(const struct Entry* a, const struct Entry* b) {
  return a->start == b->start && a->end == b->end && a->offset == b->offset &&
         strcmp(a->protection, b->protection) == 0 && strcmp(a->name, b->name) == 0;
}

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  take_map(before);  // whatever this touches first is there when it counts
  target_ready();
  size_t before_count = take_map(before);
  target_wait(go_file);
  size_t after_count = take_map(after);

  size_t b = 0;
  size_t a = 0;
  while (b < before_count || a < after_count) {
    if (b < before_count && a < after_count && same(&before[b], &after[a])) {
      b++;
      a++;
    } else if (a == after_count || (b < before_count && before[b].start <= after[a].start)) {
      differs("was", &before[b++]);
    } else {
      differs("is", &after[a++]);
    }
  }
  return target_finish();
}
