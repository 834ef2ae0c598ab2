# linux: the system calls that the core uses: epoll, sockets, sleeping to the nanosecond, threads and locks. Declarations,
# and wait_readable.

from libc.stdint cimport uint32_t, uint64_t
from posix.time cimport clockid_t, timespec

cdef extern from "sys/epoll.h" nogil:
    enum: EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLL_CTL_DEL, EPOLLIN, EPOLLPRI, EPOLLOUT, EPOLLRDHUP, EPOLLHUP, EPOLLERR, EPOLLET, EPOLL_CLOEXEC
    ctypedef union epoll_data:
        void *ptr
        int fd
    cdef struct epoll_event:
        uint32_t events
        epoll_data data
    int epoll_create1(int flags)
    int epoll_ctl(int epoll, int operation, int fd, epoll_event *event)
    int epoll_wait(int epoll, epoll_event *events, int count, int timeout_ms)

cdef extern from "sys/eventfd.h" nogil:
    enum: EFD_CLOEXEC, EFD_NONBLOCK
    int eventfd(unsigned int value, int flags)
    int eventfd_read(int fd, uint64_t *value)
    int eventfd_write(int fd, uint64_t value)

cdef extern from "<pthread.h>" nogil:
    ctypedef unsigned long pthread_t
    int pthread_create(pthread_t *thread, void *attributes, void *(*routine)(void *) noexcept nogil, void *argument)
    int pthread_detach(pthread_t thread)
    ctypedef struct pthread_mutex_t:
        pass
    ctypedef struct pthread_cond_t:
        pass
    ctypedef struct pthread_condattr_t:
        pass
    int pthread_mutex_init(pthread_mutex_t *mutex, void *attributes)
    int pthread_mutex_destroy(pthread_mutex_t *mutex)
    int pthread_mutex_lock(pthread_mutex_t *mutex)
    int pthread_mutex_trylock(pthread_mutex_t *mutex)
    int pthread_mutex_unlock(pthread_mutex_t *mutex)
    int pthread_condattr_init(pthread_condattr_t *attributes)
    int pthread_condattr_setclock(pthread_condattr_t *attributes, clockid_t clock)
    int pthread_condattr_destroy(pthread_condattr_t *attributes)
    int pthread_cond_init(pthread_cond_t *condition, const pthread_condattr_t *attributes)
    int pthread_cond_destroy(pthread_cond_t *condition)
    int pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *mutex)
    int pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex, const timespec *until)
    int pthread_cond_signal(pthread_cond_t *condition)
    int pthread_cond_broadcast(pthread_cond_t *condition)

cdef extern from "<semaphore.h>" nogil:
    ctypedef struct sem_t:
        pass
    int sem_init(sem_t *semaphore, int shared, unsigned int value)
    int sem_destroy(sem_t *semaphore)
    int sem_post(sem_t *semaphore)
    int sem_wait(sem_t *semaphore)

cdef extern from "<signal.h>" nogil:
    ctypedef struct sigset_t:
        pass
    enum: SIG_BLOCK
    int sigfillset(sigset_t *signals)
    int pthread_sigmask(int how, const sigset_t *signals, sigset_t *before)

cdef extern from "<sched.h>" nogil:
    """
    #ifndef SCHED_IDLE      /* Linux's own, which the header shows only to those who defined _GNU_SOURCE before it */
    #define SCHED_IDLE 5
    #endif
    """
    enum: SCHED_IDLE
    cdef struct sched_param:
        int sched_priority
    int sched_setscheduler(int thread, int policy, const sched_param *parameters)

cdef extern from *:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <poll.h>
    #include <signal.h>
    #include <sys/ioctl.h>
    #include <sys/prctl.h>
    #include <sys/socket.h>
    #include <time.h>
    #include <unistd.h>
    /* Waits until a descriptor is readable, to the nanosecond, which epoll_wait does not do. Declared here: poll.h only shows it to
       those who defined _GNU_SOURCE before the first header. */
    extern int ppoll(struct pollfd *, nfds_t, const struct timespec *, const sigset_t *);
    static inline int wait_readable(int fd, const struct timespec *timeout) {
        struct pollfd one = {.fd = fd, .events = POLLIN};
        return ppoll(&one, 1, timeout, 0);
    }
    """
    int wait_readable(int fd, const timespec *timeout) noexcept nogil
    Py_ssize_t recv(int fd, void *buffer, size_t nbytes, int flags) noexcept nogil
    Py_ssize_t send(int fd, const void *buffer, size_t nbytes, int flags) noexcept nogil
    int close(int fd) noexcept nogil
    int prctl(int option, unsigned long, unsigned long, unsigned long, unsigned long) noexcept nogil
    int setsockopt(int fd, int level, int name, const void *value, unsigned int nbytes) noexcept nogil
    int shutdown(int fd, int how) noexcept nogil
    int ioctl(int fd, unsigned long request, int *value) noexcept nogil
    const int MSG_DONTWAIT, MSG_NOSIGNAL, PR_SET_TIMERSLACK, SHUT_WR, SO_RCVLOWAT, SOL_SOCKET
    const unsigned long TIOCOUTQ
