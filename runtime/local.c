/* SPDX-License-Identifier: MIT */
/* Task-local storage (bonxie/local.h): a small array of the values that a task has set. */
#include <bonxie/local.h>

#include "runtime/runtime_pvt.h"

#include <errno.h>
#include <string.h>

#define CAPACITY_FIRST BNX_CAPACITY(4, 1) /* most programs have a request, a user, a trace */

struct slot {
    const struct bnx_local *key;
    void *value; /* not NULL */
};

/* The task's own, but while forks of it run: then nobody writes. */
struct bnx_locals {
    uint32_t count;    /* of slots in use */
    uint32_t capacity; /* of slots */
    bool is_busy;      /* destroy and inherit functions are called: no set */
    struct slot slots[];
};

static struct bnx_locals *make(uint32_t capacity) {
    size_t bytes = sizeof(struct bnx_locals) + sizeof(struct slot) * capacity;
    struct bnx_locals *locals = bnx_os.allocate(bytes, _Alignof(struct bnx_locals));
    if (locals != NULL) {
        *locals = (struct bnx_locals){.capacity = capacity};
    }
    return locals;
}

/* The values are few: a search from the first is faster than anything clever. */
static struct slot *find(struct bnx_locals *locals, const struct bnx_local *key) {
    for (uint32_t i = 0; locals != NULL && i < locals->count; i++) {
        if (locals->slots[i].key == key) {
            return &locals->slots[i];
        }
    }
    return NULL;
}

/* Room for one more. Returns 0 or -ENOMEM. */
static int reserve(struct bnx_task *self) {
    struct bnx_locals *old = self->locals;
    if (old != NULL && old->count < old->capacity) {
        return 0;
    }
    struct bnx_locals *grown = make(old != NULL ? 2 * old->capacity : CAPACITY_FIRST);
    if (grown == NULL) {
        return -ENOMEM;
    }
    if (old != NULL) {
        memcpy(grown->slots, old->slots, sizeof(struct slot) * old->count);
        grown->count = old->count;
        bnx_os.release(old);
    }
    self->locals = grown;
    return 0;
}

/* The others keep their order: it is that of the destroy calls. */
static void remove_slot(struct bnx_locals *locals, struct slot *slot) {
    struct slot *end = locals->slots + locals->count;
    memmove(slot, slot + 1, (size_t)((char *)end - (char *)(slot + 1)));
    locals->count--;
}

int bnx_local_set(const struct bnx_local *key, void *value) {
    struct bnx_task *self = bnx_task_current();
    if (self == NULL) {
        return bnx_off_task_error();
    }
    if ((self->flags & BNX_TASK_FORK) != 0 || (self->locals != NULL && self->locals->is_busy)) {
        return -EPERM;
    }
    struct slot *slot = find(self->locals, key);
    if (slot != NULL && value != NULL) {
        slot->value = value;
        return 0;
    }
    if (value == NULL) {
        if (slot != NULL) {
            remove_slot(self->locals, slot);
        }
        return 0;
    }
    int error = reserve(self);
    if (error == 0) {
        self->locals->slots[self->locals->count++] = (struct slot){key, value};
    }
    return error;
}

void *bnx_local_get(const struct bnx_local *key) {
    struct bnx_task *self = bnx_task_current();
    if (self == NULL || self->locals == NULL) {
        return NULL;
    }
    const struct slot *slot = find(self->locals, key);
    return slot != NULL ? slot->value : NULL;
}

int bnx_locals_inherit(const struct bnx_task *parent, struct bnx_task *child) {
    struct bnx_locals *from = parent->locals;
    uint32_t inherited = 0;
    for (uint32_t i = 0; i < from->count; i++) {
        inherited += from->slots[i].key->inherit != NULL;
    }
    if (inherited == 0) {
        return 0;
    }
    struct bnx_locals *to = make(inherited);
    if (to == NULL) {
        return -ENOMEM;
    }
    bool is_own = (parent->flags & BNX_TASK_FORK) == 0;
    if (is_own) { /* a fork cannot set anyway, and others of the forker read */
        from->is_busy = true;
    }
    for (uint32_t i = 0; i < from->count; i++) {
        const struct bnx_local *key = from->slots[i].key;
        void *value = key->inherit != NULL ? key->inherit(from->slots[i].value) : NULL;
        if (value != NULL) {
            to->slots[to->count++] = (struct slot){key, value};
        }
    }
    if (is_own) {
        from->is_busy = false;
    }
    child->locals = to;
    return 0;
}

void bnx_locals_end(struct bnx_task *task) {
    if ((task->flags & BNX_TASK_FORK) != 0) {
        return; /* its forker's */
    }
    struct bnx_locals *locals = task->locals;
    locals->is_busy = true;
    while (locals->count > 0) {
        /* Taken out first: a destroy function that asks for its own value finds none. */
        struct slot slot = locals->slots[--locals->count];
        if (slot.key->destroy != NULL) {
            slot.key->destroy(slot.value);
        }
    }
    task->locals = NULL;
    bnx_os.release(locals);
}
