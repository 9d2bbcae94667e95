/* Appended to _md5.c by test_md5.py, with slices so long that what is to happen within one does. */

#include <stdlib.h>
#include <unistd.h>

#define SHORT_BLOCKS (1 << 18)
#define LONG_BLOCKS (1 << 21) /* of 64 bytes each, never written: the system has one page for all of them */

static int may_go[16];

static void hold(void)
{
    while (!__atomic_load_n(&may_go[turn], __ATOMIC_ACQUIRE))
        usleep(100);
}

static void *one(void *number)
{
    static const uint8_t data[(size_t)LONG_BLOCKS * BLOCK_BYTES];
    uint32_t state[4] = {0};
    turn = (int)(intptr_t)number;
    compress(state, data, turn < LANES ? SHORT_BLOCKS : LONG_BLOCKS);
    return NULL;
}

static void await(int jobs, int leaders)
{
    for (int is_so = 0; !is_so; usleep(100)) {
        pthread_mutex_lock(&lock);
        is_so = jobs_total == jobs && leaders_total == leaders;
        pthread_mutex_unlock(&lock);
    }
}

/* The first leads for seven others, the ninth for the tenth, which is awake when nobody but those two is left. */
int hand_over(void)
{
    pthread_t threads[LANES + 2];
    jobs_peak = 64, jobs_since_peak = -1000; /* as if there had been more: all that come hold */
    for (int number = 0; number < LANES + 2; number++) {
        pthread_create(&threads[number], NULL, one, (void *)(intptr_t)number);
        await(number + 1, 0);
    }
    __atomic_store_n(&may_go[0], 1, __ATOMIC_RELEASE);
    await(LANES + 2, 1);
    __atomic_store_n(&may_go[LANES], 1, __ATOMIC_RELEASE);
    await(2, 1);
    for (int number = 0; number < LANES + 2; number++)
        __atomic_store_n(&may_go[number], 1, __ATOMIC_RELEASE);
    for (int number = 0; number < LANES + 2; number++)
        pthread_join(threads[number], NULL);
    return jobs_total + leaders_total;
}
