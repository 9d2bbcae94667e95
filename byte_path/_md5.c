/* MD5 (RFC 1321) of several streams at once, one in each lane of a vector register.

   One MD5 is a chain of dependent steps: a core that computes it mostly waits. Eight of them side by side take little
   longer than one, so threads that hash at the same time put their data together: whoever comes first leads, computes
   for those who wait, and hands over when its own data is done. One stream alone is as fast as with OpenSSL.

   hashlib can't do this, and no library that Python can install does. Where this is not built, or the processor lacks
   AVX2, byte_path/md5.py takes hashlib; what comes out is the same. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#if !defined(__x86_64__) || !defined(__GNUC__)
#error "written for the vectors of x86-64, in GNU C"
#endif

#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <string.h>

#define LANES 8
#define LANES_WORTHWHILE 3 /* two streams are computed as fast one after the other */
#define BLOCK_BYTES 64
#define SLICE_BLOCKS 1024 /* computed until those who have come meanwhile may join: 64 KiB of each stream */
#define PEAK_JOBS 64      /* after so many, as few as there are now are taken for all there are */
#define SMALL_BYTES 2048  /* up to here, letting go of the interpreter's lock takes longer than the work, as in hashlib */
#define DIGEST_BYTES 16

typedef uint32_t Vector __attribute__((vector_size(LANES * sizeof(uint32_t))));

/* ---- The function itself, for a number or a vector of them ---- */

#define ROTATE(x, n) (((x) << (n)) | ((x) >> (32 - (n))))
#define F(b, c, d) ((((c) ^ (d)) & (b)) ^ (d))
#define G(b, c, d) ((~(d) & (c)) + ((b) & (d))) /* no bit is in both: adding them shortens the chain */
#define H(b, c, d) ((b) ^ ((c) ^ (d)))
#define I(b, c, d) ((c) ^ ((b) | ~(d)))
#define STEP(f, a, b, c, d, i, k, s) a = ROTATE((a + (w[i] + k##u)) + f(b, c, d), s) + b;
#define STEPS \
    STEP(F, a, b, c, d, 0, 0xd76aa478, 7) STEP(F, d, a, b, c, 1, 0xe8c7b756, 12) STEP(F, c, d, a, b, 2, 0x242070db, 17) STEP(F, b, c, d, a, 3, 0xc1bdceee, 22) \
    STEP(F, a, b, c, d, 4, 0xf57c0faf, 7) STEP(F, d, a, b, c, 5, 0x4787c62a, 12) STEP(F, c, d, a, b, 6, 0xa8304613, 17) STEP(F, b, c, d, a, 7, 0xfd469501, 22) \
    STEP(F, a, b, c, d, 8, 0x698098d8, 7) STEP(F, d, a, b, c, 9, 0x8b44f7af, 12) STEP(F, c, d, a, b, 10, 0xffff5bb1, 17) STEP(F, b, c, d, a, 11, 0x895cd7be, 22) \
    STEP(F, a, b, c, d, 12, 0x6b901122, 7) STEP(F, d, a, b, c, 13, 0xfd987193, 12) STEP(F, c, d, a, b, 14, 0xa679438e, 17) STEP(F, b, c, d, a, 15, 0x49b40821, 22) \
    STEP(G, a, b, c, d, 1, 0xf61e2562, 5) STEP(G, d, a, b, c, 6, 0xc040b340, 9) STEP(G, c, d, a, b, 11, 0x265e5a51, 14) STEP(G, b, c, d, a, 0, 0xe9b6c7aa, 20) \
    STEP(G, a, b, c, d, 5, 0xd62f105d, 5) STEP(G, d, a, b, c, 10, 0x02441453, 9) STEP(G, c, d, a, b, 15, 0xd8a1e681, 14) STEP(G, b, c, d, a, 4, 0xe7d3fbc8, 20) \
    STEP(G, a, b, c, d, 9, 0x21e1cde6, 5) STEP(G, d, a, b, c, 14, 0xc33707d6, 9) STEP(G, c, d, a, b, 3, 0xf4d50d87, 14) STEP(G, b, c, d, a, 8, 0x455a14ed, 20) \
    STEP(G, a, b, c, d, 13, 0xa9e3e905, 5) STEP(G, d, a, b, c, 2, 0xfcefa3f8, 9) STEP(G, c, d, a, b, 7, 0x676f02d9, 14) STEP(G, b, c, d, a, 12, 0x8d2a4c8a, 20) \
    STEP(H, a, b, c, d, 5, 0xfffa3942, 4) STEP(H, d, a, b, c, 8, 0x8771f681, 11) STEP(H, c, d, a, b, 11, 0x6d9d6122, 16) STEP(H, b, c, d, a, 14, 0xfde5380c, 23) \
    STEP(H, a, b, c, d, 1, 0xa4beea44, 4) STEP(H, d, a, b, c, 4, 0x4bdecfa9, 11) STEP(H, c, d, a, b, 7, 0xf6bb4b60, 16) STEP(H, b, c, d, a, 10, 0xbebfbc70, 23) \
    STEP(H, a, b, c, d, 13, 0x289b7ec6, 4) STEP(H, d, a, b, c, 0, 0xeaa127fa, 11) STEP(H, c, d, a, b, 3, 0xd4ef3085, 16) STEP(H, b, c, d, a, 6, 0x04881d05, 23) \
    STEP(H, a, b, c, d, 9, 0xd9d4d039, 4) STEP(H, d, a, b, c, 12, 0xe6db99e5, 11) STEP(H, c, d, a, b, 15, 0x1fa27cf8, 16) STEP(H, b, c, d, a, 2, 0xc4ac5665, 23) \
    STEP(I, a, b, c, d, 0, 0xf4292244, 6) STEP(I, d, a, b, c, 7, 0x432aff97, 10) STEP(I, c, d, a, b, 14, 0xab9423a7, 15) STEP(I, b, c, d, a, 5, 0xfc93a039, 21) \
    STEP(I, a, b, c, d, 12, 0x655b59c3, 6) STEP(I, d, a, b, c, 3, 0x8f0ccc92, 10) STEP(I, c, d, a, b, 10, 0xffeff47d, 15) STEP(I, b, c, d, a, 1, 0x85845dd1, 21) \
    STEP(I, a, b, c, d, 8, 0x6fa87e4f, 6) STEP(I, d, a, b, c, 15, 0xfe2ce6e0, 10) STEP(I, c, d, a, b, 6, 0xa3014314, 15) STEP(I, b, c, d, a, 13, 0x4e0811a1, 21) \
    STEP(I, a, b, c, d, 4, 0xf7537e82, 6) STEP(I, d, a, b, c, 11, 0xbd3af235, 10) STEP(I, c, d, a, b, 2, 0x2ad7d2bb, 15) STEP(I, b, c, d, a, 9, 0xeb86d391, 21)

static void compress_one(uint32_t state[4], const uint8_t *data, size_t blocks)
{
    uint32_t w[16];
    for (; blocks; blocks--, data += BLOCK_BYTES) {
        uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
        memcpy(w, data, BLOCK_BYTES);
        STEPS
        state[0] += a, state[1] += b, state[2] += c, state[3] += d;
    }
}

static inline __attribute__((always_inline)) void compress_lanes(
    uint32_t *const states[LANES], const uint8_t *const data[LANES], size_t blocks)
{
    uint32_t rows[16][LANES] __attribute__((aligned(sizeof(Vector))));
    Vector w[16], state[4];
    for (int lane = 0; lane < LANES; lane++)
        for (int i = 0; i < 4; i++)
            rows[i][lane] = states[lane][i];
    memcpy(state, rows, sizeof state);
    for (size_t block = 0; block < blocks; block++) {
        for (int lane = 0; lane < LANES; lane++) {
            uint32_t words[16];
            memcpy(words, data[lane] + block * BLOCK_BYTES, BLOCK_BYTES);
            for (int i = 0; i < 16; i++)
                rows[i][lane] = words[i];
        }
        memcpy(w, rows, sizeof w);
        Vector a = state[0], b = state[1], c = state[2], d = state[3];
        STEPS
        state[0] += a, state[1] += b, state[2] += c, state[3] += d;
    }
    memcpy(rows, state, sizeof state);
    for (int lane = 0; lane < LANES; lane++)
        for (int i = 0; i < 4; i++)
            states[lane][i] = rows[i][lane];
}

__attribute__((target("avx2"))) static void compress_avx2(
    uint32_t *const states[LANES], const uint8_t *const data[LANES], size_t blocks)
{
    compress_lanes(states, data, blocks);
}

/* The same width, with three-way logic and rotation in one instruction each. */
__attribute__((target("avx2,avx512f,avx512vl"))) static void compress_avx512(
    uint32_t *const states[LANES], const uint8_t *const data[LANES], size_t blocks)
{
    compress_lanes(states, data, blocks);
}

static void (*compress_vectors)(uint32_t *const states[LANES], const uint8_t *const data[LANES], size_t blocks);

/* ---- Threads that put their data together ---- */

typedef struct Job {
    uint32_t *state;
    const uint8_t *data;
    size_t blocks;
    int is_done;
    pthread_cond_t news; /* it is done, or may lead */
    struct Job *next;
} Job;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of what follows, and of the jobs' fields */
static Job *first_waiting, **last_waiting = &first_waiting;
static int jobs_total, leaders_total;
static int jobs_peak, jobs_since_peak; /* the most at once, lately */

/* How many threads compute, and for how many jobs each: lanes pay from three on. */
static int leaders_wanted(void)
{
    return jobs_total < LANES_WORTHWHILE ? jobs_total : (jobs_total + LANES - 1) / LANES;
}

static int lanes_wanted(void)
{
    return jobs_total < LANES_WORTHWHILE ? 1 : LANES;
}

static Job *take_first(void)
{
    Job *job = first_waiting;
    first_waiting = job->next;
    if (!first_waiting)
        last_waiting = &first_waiting;
    return job;
}

static void put_first(Job *job)
{
    job->next = first_waiting;
    if (!first_waiting)
        last_waiting = &job->next;
    first_waiting = job;
    pthread_cond_signal(&job->news);
}

/* Compute so many blocks of each of these jobs, LANES at most. */
static void compress_jobs(Job *const jobs[], int total, size_t blocks)
{
    uint32_t *states[LANES], unused[LANES][4];
    const uint8_t *data[LANES];
    if (total < LANES_WORTHWHILE) {
        for (int i = 0; i < total; i++)
            compress_one(jobs[i]->state, jobs[i]->data, blocks);
        return;
    }
    memset(unused, 0, sizeof unused);
    for (int lane = 0; lane < LANES; lane++) {
        states[lane] = lane < total ? jobs[lane]->state : unused[lane];
        data[lane] = jobs[lane < total ? lane : 0]->data;
    }
    compress_vectors(states, data, blocks);
}

/* Compute, for others too, until the own job is done or others compute it. The lock is held on entry and on return. */
static void lead(const Job *own)
{
    Job *jobs[LANES];
    int total = 0;
    leaders_total++;
    while (!own->is_done && leaders_total <= leaders_wanted()) {
        size_t blocks = SLICE_BLOCKS;
        while (total > lanes_wanted())
            put_first(jobs[--total]);
        while (total < lanes_wanted() && first_waiting)
            jobs[total++] = take_first();
        if (!total)
            break;
        for (int i = 0; i < total; i++)
            if (jobs[i]->blocks < blocks)
                blocks = jobs[i]->blocks;
        pthread_mutex_unlock(&lock);
        compress_jobs(jobs, total, blocks);
        pthread_mutex_lock(&lock);
        for (int i = total - 1; i >= 0; i--) {
            jobs[i]->data += blocks * BLOCK_BYTES;
            jobs[i]->blocks -= blocks;
            if (!jobs[i]->blocks) {
                jobs[i]->is_done = 1;
                jobs_total--;
                pthread_cond_signal(&jobs[i]->news);
                jobs[i] = jobs[--total];
            }
        }
    }
    leaders_total--;
    while (total)
        put_first(jobs[--total]);
    if (first_waiting)
        pthread_cond_signal(&first_waiting->news);
}

/* Let those run who are about to come with their next data: a thread that never waits would lead alone for ever. */
static void await_company(void)
{
    if (jobs_total >= jobs_peak || ++jobs_since_peak == PEAK_JOBS) {
        jobs_peak = jobs_total;
        jobs_since_peak = 0;
    }
    if (jobs_total < jobs_peak && jobs_peak >= LANES_WORTHWHILE) {
        pthread_mutex_unlock(&lock);
        sched_yield();
        pthread_mutex_lock(&lock);
    }
}

/* In a forked process: its one thread computes nothing, the others' jobs are not here. */
static void begin_anew(void)
{
    pthread_mutex_init(&lock, NULL);
    first_waiting = NULL, last_waiting = &first_waiting;
    jobs_total = leaders_total = jobs_peak = jobs_since_peak = 0;
}

static void compress(uint32_t state[4], const uint8_t *data, size_t blocks)
{
    Job own = {state, data, blocks, 0, PTHREAD_COND_INITIALIZER, NULL};
    pthread_mutex_lock(&lock);
    *last_waiting = &own;
    last_waiting = &own.next;
    jobs_total++;
    await_company();
    while (!own.is_done) {
        /* Where nothing waits there is nothing to lead: whoever has the own job hands it over, or does it. */
        if (first_waiting && leaders_total < leaders_wanted())
            lead(&own);
        else
            pthread_cond_wait(&own.news, &lock);
    }
    pthread_mutex_unlock(&lock);
    pthread_cond_destroy(&own.news);
}

/* ---- One stream ---- */

typedef struct {
    uint32_t state[4];
    uint64_t size_bytes;
    uint8_t rest[BLOCK_BYTES]; /* what came since the last whole block */
} Stream;

static const Stream fresh = {{0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476}, 0, {0}};

static void absorb(Stream *stream, const uint8_t *data, size_t size)
{
    size_t held = stream->size_bytes % BLOCK_BYTES;
    if (!size)
        return;
    stream->size_bytes += size;
    if (held) {
        size_t taken = BLOCK_BYTES - held < size ? BLOCK_BYTES - held : size;
        memcpy(stream->rest + held, data, taken);
        if (held + taken < BLOCK_BYTES)
            return;
        compress_one(stream->state, stream->rest, 1);
        data += taken, size -= taken;
    }
    if (size > SMALL_BYTES)
        compress(stream->state, data, size / BLOCK_BYTES);
    else
        compress_one(stream->state, data, size / BLOCK_BYTES);
    memcpy(stream->rest, data + size / BLOCK_BYTES * BLOCK_BYTES, size % BLOCK_BYTES);
}

static void conclude(Stream stream, uint8_t digest[DIGEST_BYTES])
{
    static const uint8_t padding[BLOCK_BYTES] = {0x80};
    uint64_t size_bits = stream.size_bytes * 8;
    absorb(&stream, padding, 1 + (2 * BLOCK_BYTES - 9 - stream.size_bytes % BLOCK_BYTES) % BLOCK_BYTES);
    absorb(&stream, (const uint8_t *)&size_bits, sizeof size_bits);
    memcpy(digest, stream.state, DIGEST_BYTES);
}

/* ---- What Python sees ---- */

typedef struct {
    PyObject_HEAD
    pthread_mutex_t lock; /* of the stream; nobody waits for the interpreter's lock while it is held */
    Stream stream;
} MD5;

static PyObject *make(PyTypeObject *type, Stream stream)
{
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    MD5 *made = (MD5 *)allocate(type, 0);
    if (made) {
        pthread_mutex_init(&made->lock, NULL);
        made->stream = stream;
    }
    return (PyObject *)made;
}

static PyObject *md5_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {NULL};
    return PyArg_ParseTupleAndKeywords(arguments, keywords, ":MD5", names) ? make(type, fresh) : NULL;
}

static void md5_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    pthread_mutex_destroy(&((MD5 *)self)->lock);
    release(self);
    Py_DECREF(type);
}

static PyObject *md5_update(PyObject *self, PyObject *data)
{
    MD5 *md5 = (MD5 *)self;
    Py_buffer view;
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE))
        return NULL;
    PyThreadState *running = view.len > SMALL_BYTES ? PyEval_SaveThread() : NULL;
    pthread_mutex_lock(&md5->lock);
    absorb(&md5->stream, view.buf, (size_t)view.len);
    pthread_mutex_unlock(&md5->lock);
    if (running)
        PyEval_RestoreThread(running);
    PyBuffer_Release(&view);
    Py_RETURN_NONE;
}

static Stream stream_of(PyObject *self)
{
    MD5 *md5 = (MD5 *)self;
    Stream stream;
    Py_BEGIN_ALLOW_THREADS
    pthread_mutex_lock(&md5->lock);
    stream = md5->stream;
    pthread_mutex_unlock(&md5->lock);
    Py_END_ALLOW_THREADS
    return stream;
}

static PyObject *md5_copy(PyObject *self, PyObject *unused)
{
    (void)unused;
    return make(Py_TYPE(self), stream_of(self));
}

static PyObject *md5_digest(PyObject *self, PyObject *unused)
{
    uint8_t digest[DIGEST_BYTES];
    (void)unused;
    conclude(stream_of(self), digest);
    return PyBytes_FromStringAndSize((const char *)digest, DIGEST_BYTES);
}

static PyObject *md5_hexdigest(PyObject *self, PyObject *unused)
{
    static const char digits[] = "0123456789abcdef";
    uint8_t digest[DIGEST_BYTES];
    char text[2 * DIGEST_BYTES];
    (void)unused;
    conclude(stream_of(self), digest);
    for (int i = 0; i < DIGEST_BYTES; i++)
        text[2 * i] = digits[digest[i] >> 4], text[2 * i + 1] = digits[digest[i] & 15];
    return PyUnicode_FromStringAndSize(text, sizeof text);
}

static PyMethodDef methods[] = {
    {"update", md5_update, METH_O, "Take the next bytes."},
    {"copy", md5_copy, METH_NOARGS, "Return another one that has taken the same bytes."},
    {"digest", md5_digest, METH_NOARGS, "Return the digest of all bytes so far."},
    {"hexdigest", md5_hexdigest, METH_NOARGS, "Return it as 32 lower-case hexadecimal digits."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "The MD5 of a stream, computed together with those of other threads."},
    {Py_tp_new, md5_new},
    {Py_tp_dealloc, md5_dealloc},
    {Py_tp_methods, methods},
    {0, NULL},
};

static PyType_Spec spec = {"byte_path._md5.MD5", sizeof(MD5), 0, Py_TPFLAGS_DEFAULT, slots};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "byte_path._md5", NULL, -1, NULL, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__md5(void)
{
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl"))
        compress_vectors = compress_avx512;
    else if (__builtin_cpu_supports("avx2"))
        compress_vectors = compress_avx2;
    else {
        PyErr_SetString(PyExc_ImportError, "this processor lacks AVX2");
        return NULL;
    }
    static int is_prepared;
    if (!is_prepared && pthread_atfork(NULL, NULL, begin_anew))
        return PyErr_NoMemory();
    is_prepared = 1;
    PyObject *module = PyModule_Create(&definition);
    PyObject *type = module ? PyType_FromSpec(&spec) : NULL;
    if (!type || PyModule_AddObjectRef(module, "MD5", type)) {
        Py_XDECREF(type);
        Py_XDECREF(module);
        return NULL;
    }
    Py_DECREF(type);
    return module;
}
