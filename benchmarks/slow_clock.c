/* slow_clock: preloaded into a program under valgrind, it makes the clock run as much slower as the program does.

   Work budgets, the limit of inline runs and timers are in nanoseconds. With the real clock they would end after a
   fiftieth of the work, and the program would do something else than it does without valgrind. Not for the wall clock. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SLOWER 128          /* a power of two: a shift */
#define SECOND 1000000000

static int64_t start_ns;    /* of the monotonic clock, on which the slow one agrees with it */

static int64_t in_ns(const struct timespec *time) { return (int64_t)time->tv_sec * SECOND + time->tv_nsec; }

static struct timespec as_timespec(int64_t ns) { return (struct timespec){ns / SECOND, ns % SECOND}; }

__attribute__((constructor)) static void start(void) {
    struct timespec now;
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
    start_ns = in_ns(&now);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = (int)syscall(SYS_clock_gettime, clock, now);
    if (failed || clock == CLOCK_REALTIME)
        return failed;
    int64_t since_ns = clock == CLOCK_MONOTONIC ? start_ns : 0;
    *now = as_timespec(since_ns + (in_ns(now) - since_ns) / SLOWER);
    return 0;
}

/* When the slow clock will show that time. A time of the wall clock is far beyond and stays as it is. */
static struct timespec real(const struct timespec *time) {
    int64_t ns = in_ns(time);
    return ns > start_ns + (int64_t)SECOND * 1000000 ? *time : as_timespec(start_ns + (ns - start_ns) * SLOWER);
}

/* Waiting until a time of the monotonic clock: for Python's GIL and locks, and C++. */
int pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex, const struct timespec *until) {
    static int (*next)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    if (!next)
        next = (int (*)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *))dlsym(RTLD_NEXT, "pthread_cond_timedwait");
    struct timespec slow = real(until);
    return next(condition, mutex, &slow);
}

int pthread_cond_clockwait(pthread_cond_t *condition, pthread_mutex_t *mutex, clockid_t clock, const struct timespec *until) {
    static int (*next)(pthread_cond_t *, pthread_mutex_t *, clockid_t, const struct timespec *);
    if (!next)
        next = (int (*)(pthread_cond_t *, pthread_mutex_t *, clockid_t, const struct timespec *))dlsym(RTLD_NEXT, "pthread_cond_clockwait");
    struct timespec slow = real(until);
    return next(condition, mutex, clock, &slow);
}

int sem_clockwait(sem_t *semaphore, clockid_t clock, const struct timespec *until) {
    static int (*next)(sem_t *, clockid_t, const struct timespec *);
    if (!next)
        next = (int (*)(sem_t *, clockid_t, const struct timespec *))dlsym(RTLD_NEXT, "sem_clockwait");
    struct timespec slow = real(until);
    return next(semaphore, clock, &slow);
}
